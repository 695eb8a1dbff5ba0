//! Any bytes, however they are cut, are read along as the messages of a language model, with the same outcome.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::llm::{Answer, Form, Prompt};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = (usize::from(input.0).max(1), input.1);
    let (mut whole, mut cut) = (Prompt::default(), Prompt::default());
    whole.read(bytes);
    bytes.chunks(size).for_each(|piece| cut.read(piece));
    assert_eq!(whole.tokens(), cut.tokens());
    for form in [Form::Json, Form::Events] {
        let (mut whole, mut cut) = (Answer::new(form), Answer::new(form));
        whole.read(bytes);
        bytes.chunks(size).for_each(|piece| cut.read(piece));
        assert_eq!((whole.usage(), whole.estimate()), (cut.usage(), cut.estimate()));
    }
});
