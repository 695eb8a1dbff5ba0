//! What one key has used, each part with the time at which it comes back.

use smallvec::SmallVec;

use super::schedule::Millis;

/// What was counted together and comes back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// It counts up to, and not including, this time.
    pub until: Millis,
    /// Calls.
    pub calls: u64,
    /// Bytes or tokens.
    pub units: u64,
}

/// Everything a key has used and not got back. Ordered by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(SmallVec<[Part; 1]>);

/// A part as it is stored: three numbers of eight bytes.
const PART: usize = 24;

impl Usage {
    /// Forgets what has come back.
    pub fn expire(&mut self, now: Millis) {
        self.0.retain(|part| part.until > now);
    }

    /// Whether nothing is used at `now`.
    pub fn is_free(&self, now: Millis) -> bool {
        self.0.iter().all(|part| part.until <= now)
    }

    /// Calls and units in use.
    pub fn used(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(calls, units), part| {
            (u64::saturating_add(calls, part.calls), u64::saturating_add(units, part.units))
        })
    }

    /// The end of the newest part.
    pub fn last_until(&self) -> Option<Millis> {
        self.0.last().map(|part| part.until)
    }

    /// Counts.
    pub fn add(&mut self, until: Millis, calls: u64, units: u64) {
        let at = self.0.partition_point(|part| part.until < until);
        match self.0.get_mut(at) {
            Some(part) if part.until == until => {
                part.calls = part.calls.saturating_add(calls);
                part.units = part.units.saturating_add(units);
            }
            _ => self.0.insert(at, Part { until, calls, units }),
        }
    }

    /// Takes back what was counted in the part that ends at `until`, when it is still there.
    pub fn give_back(&mut self, until: Millis, calls: u64, units: u64) {
        if let Some(part) = self.0.iter_mut().find(|part| part.until == until) {
            part.calls = part.calls.saturating_sub(calls);
            part.units = part.units.saturating_sub(units);
        }
    }

    /// The first time at which at most so many calls, and at most so many units, are in use.
    pub fn free_at(&self, calls: u64, units: u64) -> Millis {
        let (mut used_calls, mut used_units) = self.used();
        for part in &self.0 {
            if used_calls <= calls && used_units <= units {
                break;
            }
            used_calls = used_calls.saturating_sub(part.calls);
            used_units = used_units.saturating_sub(part.units);
            if used_calls <= calls && used_units <= units {
                return part.until;
            }
        }
        self.0.last().map_or(Millis::MIN, |part| part.until)
    }

    /// Adds everything of another.
    pub fn merge(&mut self, other: &Self) {
        for part in &other.0 {
            self.add(part.until, part.calls, part.units);
        }
    }

    /// Lets nothing count longer than up to `until`.
    pub fn cap(&mut self, until: Millis) {
        let late: SmallVec<[Part; 1]> = self.0.iter().copied().filter(|part| part.until > until).collect();
        self.0.retain(|part| part.until <= until);
        for part in late {
            self.add(until, part.calls, part.units);
        }
    }

    /// The bytes that are stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * PART);
        for part in &self.0 {
            bytes.extend_from_slice(&part.until.to_le_bytes());
            bytes.extend_from_slice(&part.calls.to_le_bytes());
            bytes.extend_from_slice(&part.units.to_le_bytes());
        }
        bytes
    }

    /// What was stored; none when it is not whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(PART) {
            return None;
        }
        let mut usage = Self::default();
        for part in bytes.chunks_exact(PART) {
            let number = |at: usize| -> Option<[u8; 8]> { part.get(at..at + 8)?.try_into().ok() };
            usage.add(i64::from_le_bytes(number(0)?), u64::from_le_bytes(number(8)?), u64::from_le_bytes(number(16)?));
        }
        Some(usage)
    }
}
