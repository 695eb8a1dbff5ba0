//! What a trace shows of messages that it is given.
