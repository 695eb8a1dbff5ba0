//! Passwords right and wrong, floods of them, and what is remembered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::runtime::Handle;

use super::*;

fn credentials(user: &str, password: &str) -> Credentials {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())]);
    Credentials::parse(&headers).unwrap().unwrap()
}

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn verifier(failures: u32, clock: &Clock) -> Verifier {
    let mut users = Users::default();
    for (name, password) in [("ada", "open sesame"), ("bob", "hunter2")] {
        users.add(name, &bcrypt::hash(password, 4).unwrap()).unwrap();
    }
    let settings = Settings {
        cache: Duration::from_secs(60),
        failures: NonZeroU32::new(failures).unwrap(),
        period: Duration::from_secs(60),
    };
    Verifier::new(users, settings, clock.clone(), Arc::new(Hashing::new(Handle::current())))
}

/// The verdict, and whether it took a check.
async fn check(verifier: &Verifier, user: &str, password: &str, address: IpAddr) -> (Result<String, Refused>, bool) {
    let (verdict, waited) = match verifier.begin(credentials(user, password), address) {
        Begun::Known(verdict) => (verdict, false),
        Begun::Waits(pending) => (pending.done().await, true),
    };
    (verdict.map(|name| name.to_string()), waited)
}

#[tokio::test]
async fn right_and_wrong_are_remembered_for_a_while() {
    let clock = Clock::manual();
    let verifier = verifier(100, &clock);
    for (user, password, want) in [
        ("ada", "open sesame", Ok("ada")),
        ("bob", "hunter2", Ok("bob")),
        ("ada", "hunter2", Err(Refused::WrongPassword)),
        ("Ada", "open sesame", Err(Refused::UnknownUser)),
        ("", "", Err(Refused::UnknownUser)),
    ] {
        let want = want.map(str::to_owned);
        assert_eq!(check(&verifier, user, password, ADDRESS).await, (want.clone(), true), "{user} first");
        assert_eq!(check(&verifier, user, password, ADDRESS).await, (want.clone(), false), "{user} again");
        clock.advance(Duration::from_secs(59));
        assert_eq!(check(&verifier, user, password, ADDRESS).await, (want.clone(), false), "{user} in time");
        clock.advance(Duration::from_secs(1));
        assert_eq!(check(&verifier, user, password, ADDRESS).await, (want, true), "{user} later");
    }
}

#[tokio::test]
async fn an_address_has_so_many_failures_and_others_go_on() {
    let clock = Clock::manual();
    let verifier = verifier(3, &clock);
    assert_eq!(check(&verifier, "ada", "open sesame", ADDRESS).await.0, Ok("ada".into()));
    for guess in 0..3 {
        let (verdict, waited) = check(&verifier, "bob", &guess.to_string(), ADDRESS).await;
        assert_eq!((verdict, waited), (Err(Refused::WrongPassword), true), "{guess}");
    }
    let refused = (Err(Refused::TooManyFailures { seconds: 60 }), false);
    assert_eq!(check(&verifier, "bob", "hunter2", ADDRESS).await, refused, "no check at all");
    assert_eq!(check(&verifier, "nobody", "x", ADDRESS).await, refused);
    // Who is known already is let in, and so is everybody elsewhere.
    assert_eq!(check(&verifier, "ada", "open sesame", ADDRESS).await, (Ok("ada".into()), false));
    assert_eq!(check(&verifier, "bob", "hunter2", "192.0.2.1".parse().unwrap()).await.0, Ok("bob".into()));
    clock.advance(Duration::from_secs(60));
    assert_eq!(check(&verifier, "bob", "hunter2", ADDRESS).await.0, Ok("bob".into()));
}

#[tokio::test]
async fn the_same_pair_is_checked_once_at_a_time() {
    let verifier = verifier(1, &Clock::manual());
    // One failure is allowed, so that a second check would be refused.
    let begun: Vec<Begun> = (0..500).map(|_| verifier.begin(credentials("ada", "wrong"), ADDRESS)).collect();
    for one in begun {
        let verdict = match one {
            Begun::Known(verdict) => verdict,
            Begun::Waits(pending) => pending.done().await,
        };
        assert_eq!(verdict, Err(Refused::WrongPassword));
    }
    assert!(verifier.0.waiting.lock().is_empty());
}

/// A million distinct wrong passwords from as many addresses: what is kept stays small, and the queue refuses the rest.
#[tokio::test]
async fn a_flood_is_bounded() {
    let verifier = verifier(1, &Clock::manual());
    let mut busy = 0;
    let mut last = None;
    for number in 0..100_000_u32 {
        let address = IpAddr::V4((0x0a00_0000 + number).into());
        match verifier.begin(credentials("ada", &number.to_string()), address) {
            Begun::Known(verdict) => {
                assert_eq!(verdict, Err(Refused::Busy));
                busy += 1;
            }
            Begun::Waits(pending) => last = Some(pending),
        }
    }
    assert!(busy > 50_000, "{busy} of 100,000 refused at once");
    drop(last);
    assert!(verifier.0.waiting.lock().len() <= 200);
    for number in 0..1_000_000_u32 {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        verifier.0.wrong.insert(digest, Err(Refused::WrongPassword), Nanos(1));
    }
    let held: usize = verifier.0.wrong.0.iter().map(|shard| shard.read().entries.len()).sum();
    assert_eq!(held, REMEMBERED);
}

#[test]
fn networks() {
    for (address, want) in
        [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    {
        assert_eq!(network(address.parse().unwrap()).to_string(), want, "{address}");
    }
}
