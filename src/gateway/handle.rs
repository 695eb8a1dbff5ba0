//! One request from its head to the end of its answer: admitted, routed, identified, run, logged.
