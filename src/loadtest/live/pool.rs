//! The connections of a live test: those at rest, and the requests that wait for one.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::connection::{self, Sender};
use super::{Hub, Waiting};
use crate::loadtest::record::Attempt;

/// Connections, each used by one request at a time, at most so many.
pub(super) struct Pool {
    hub: Rc<Hub>,
    idle: HashMap<u64, Vec<Sender>>,
    idle_count: usize,
    open: usize,
    most: usize,
    waiting: VecDeque<Waiting>,
    error: Rc<RefCell<Option<String>>>,
}

impl Pool {
    pub(super) fn new(hub: Rc<Hub>, most: usize) -> Self {
        Self {
            hub,
            idle: HashMap::new(),
            idle_count: 0,
            open: 0,
            most: most.max(1),
            waiting: VecDeque::new(),
            error: Rc::default(),
        }
    }

    /// Sends a request, as soon as there is a connection for it.
    pub(super) fn send(&mut self, attempt: Attempt, handled: u64) {
        let line = self.hub.target.line(&attempt);
        if let Some(sender) = self.idle.get_mut(&line).and_then(Vec::pop) {
            self.idle_count -= 1;
            self.start(line, Some(sender), attempt, handled);
        } else if self.open < self.most {
            self.open += 1;
            self.start(line, None, attempt, handled);
        } else if self.idle_count > 0 && self.drop_one() {
            // One of another caller's makes room.
            self.start(line, None, attempt, handled);
        } else {
            self.waiting.push_back((attempt, handled));
        }
    }

    fn drop_one(&mut self) -> bool {
        let Some(line) = self.idle.iter().find(|(_, senders)| !senders.is_empty()).map(|(line, _)| *line) else {
            return false;
        };
        let dropped = self.idle.get_mut(&line).and_then(Vec::pop).is_some();
        self.idle_count -= usize::from(dropped);
        if self.idle.get(&line).is_some_and(Vec::is_empty) {
            self.idle.remove(&line);
        }
        dropped
    }

    fn start(&self, line: u64, sender: Option<Sender>, attempt: Attempt, handled: u64) {
        let (hub, error) = (self.hub.clone(), self.error.clone());
        tokio::task::spawn_local(connection::exchange(hub, error, line, sender, attempt, handled));
    }

    /// Takes a connection back, or learns that it is closed, and goes on with what waits.
    pub(super) fn give_back(&mut self, line: u64, sender: Option<Sender>) {
        match sender {
            Some(sender) => {
                self.idle_count += 1;
                self.idle.entry(line).or_default().push(sender);
            }
            None => self.open = self.open.saturating_sub(1),
        }
        if let Some((attempt, handled)) = self.waiting.pop_front() {
            self.send(attempt, handled);
        }
    }

    /// Why the first request that got no answer got none.
    pub(super) fn first_error(&self) -> Option<String> {
        self.error.borrow().clone()
    }
}
