//! One token: served while it is good, replaced before its end by one fetch that all who need it share.
//!
//! * Readers load one pointer. They wait only when there is no token that is still good.
//! * All fetches run on the control runtime, one at a time for each slot.
//! * Near the end of its life a token serves on while its successor is fetched in the background.
//! * After a failure nobody asks again for 1 s, 2 s, 4 s … up to 30 s, or as long as the endpoint says; an old token serves on
//!   until its end, and without one the same error answers at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::answer::{self, Issued};
use super::asked::{Asked, Watched};
use super::caller::Subject;
use super::error::CredentialError;
use super::request::token_request;
use super::settings::Target;
use super::source::{MOST_WAITING, TokenSource};
use crate::clock::Nanos;
use crate::identity::KeyDigest;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The least time between two fetches that answers of backends cause.
const LEAST_RENEWAL: Duration = Duration::from_secs(30);
/// How much of a token's life is left unused for clocks that differ and requests under way; a tenth of a short life.
const MARGIN: Duration = Duration::from_secs(10);

/// A token as it serves.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Where its successor is fetched.
    refresh: Nanos,
    /// Where it stops to serve.
    expires: Nanos,
}

/// The token for one purpose, and for one caller where it is a caller's.
pub(super) struct Slot {
    target: Arc<Target>,
    /// Its place in the cache of callers' tokens.
    place: Option<KeyDigest>,
    current: ArcSwapOption<Token>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: Option<watch::Receiver<Progress>>,
    failures: u32,
    failure: Option<(Arc<CredentialError>, Nanos)>,
    /// When an answer of a backend last caused a fetch.
    renewed: Option<Nanos>,
}

/// How far a fetch has come.
#[derive(Debug)]
enum Progress {
    UnderWay,
    /// With what went over the wire, where requests are traced.
    Over(Option<Arc<Asked>>),
}

/// A token to be had from a source. The source keeps slots, so a slot does not hold its source.
#[derive(Clone)]
pub struct Credential {
    source: Arc<TokenSource>,
    slot: Arc<Slot>,
}

/// What is known of a token at once.
pub enum Obtained {
    /// The value of an `Authorization` header.
    Token(HeaderValue),
    /// A fetch is under way.
    Wait(Fetching),
    /// There is none, and nobody asks for one right now.
    Failed(Arc<CredentialError>),
}

/// A fetch under way, to be awaited on any runtime.
pub struct Fetching {
    credential: Credential,
    done: watch::Receiver<Progress>,
}

impl Fetching {
    /// Waits until the fetch is over. Dropping the future does not stop the fetch.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn done(self) -> Result<HeaderValue, Arc<CredentialError>> {
        self.told().await.0
    }

    /// The same, with what went over the wire where requests are traced.
    pub(super) async fn told(mut self) -> (Result<HeaderValue, Arc<CredentialError>>, Option<Arc<Asked>>) {
        // An error means that the control runtime is gone, and with it the fetch.
        let over = self.done.wait_for(|progress| matches!(progress, Progress::Over(_))).await;
        let asked = over.ok().and_then(|progress| match &*progress {
            Progress::Over(asked) => asked.clone(),
            Progress::UnderWay => None,
        });
        (self.outcome(), asked)
    }

    fn outcome(&self) -> Result<HeaderValue, Arc<CredentialError>> {
        let Credential { source, slot } = &self.credential;
        if let Some(token) = slot.good(source.clock.now()) {
            return Ok(token);
        }
        let state = slot.state.lock();
        Err(state.failure.as_ref().map_or_else(|| Arc::new(CredentialError::Interrupted), |(error, _)| error.clone()))
    }
}

impl Credential {
    pub(super) fn new(source: Arc<TokenSource>, slot: Arc<Slot>) -> Self {
        Self { source, slot }
    }

    /// The source that the token comes from.
    pub fn source(&self) -> &Arc<TokenSource> {
        &self.source
    }

    /// The token, made of the caller's own token where the grant needs one.
    pub fn token(&self, subject: Option<&Subject<'_>>) -> Obtained {
        let now = self.source.clock.now();
        if let Some(token) = &*self.slot.current.load()
            && now < token.expires
        {
            if now >= token.refresh {
                self.refresh_early(subject, now);
            }
            return Obtained::Token(token.header.clone());
        }
        self.begin(subject, now)
    }

    /// A newer token than one that a backend refused: at once when there is one already, else by a fetch. None when a fetch
    /// for this reason was made too recently: another would bring nothing.
    pub fn renew(&self, refused: &HeaderValue, subject: Option<&Subject<'_>>) -> Option<Obtained> {
        let now = self.source.clock.now();
        if let Some(token) = self.slot.good(now).filter(|token| token != refused) {
            return Some(Obtained::Token(token));
        }
        let mut state = self.slot.state.lock();
        if let Some(done) = state.under_way() {
            return Some(self.waits(done));
        }
        if state.renewed.is_some_and(|renewed| now.since(renewed) < LEAST_RENEWAL) {
            return None;
        }
        state.renewed = Some(now);
        Some(self.launch(&mut state, subject, now))
    }

    fn waits(&self, done: watch::Receiver<Progress>) -> Obtained {
        Obtained::Wait(Fetching { credential: self.clone(), done })
    }

    #[cold]
    fn refresh_early(&self, subject: Option<&Subject<'_>>, now: Nanos) {
        let mut state = self.slot.state.lock();
        let due = self.slot.current.load().as_ref().is_some_and(|token| now >= token.refresh);
        let waits = state.failure.as_ref().is_some_and(|(_, until)| now < *until);
        if due && !waits && state.under_way().is_none() && self.source.paused(now).is_none() {
            self.launch(&mut state, subject, now);
        }
    }

    #[cold]
    fn begin(&self, subject: Option<&Subject<'_>>, now: Nanos) -> Obtained {
        let mut state = self.slot.state.lock();
        if let Some(token) = self.slot.good(now) {
            return Obtained::Token(token);
        }
        if let Some(done) = state.under_way() {
            return self.waits(done);
        }
        if subject.and_then(Subject::ends).is_some_and(|ends| ends <= self.source.clock.wall()) {
            return Obtained::Failed(Arc::new(CredentialError::Lapsed));
        }
        let failed = state.failure.as_ref().filter(|(_, until)| now < *until).map(|(error, _)| error.clone());
        match failed.or_else(|| self.source.paused(now)) {
            Some(error) => Obtained::Failed(error),
            None => self.launch(&mut state, subject, now),
        }
    }

    /// Begins a fetch. Its time counts from now: a token's life is never counted from later than it began.
    fn launch(&self, state: &mut State, subject: Option<&Subject<'_>>, now: Nanos) -> Obtained {
        let Some(turn) = self.source.queue() else {
            return Obtained::Failed(Arc::new(CredentialError::Busy(MOST_WAITING)));
        };
        let (sender, done) = watch::channel(Progress::UnderWay);
        state.in_flight = Some(done.clone());
        let own = self.clone();
        let ends = subject.and_then(Subject::ends);
        let subject = subject.map(|subject| subject.token.to_owned());
        self.source.control.spawn(async move {
            let _turn = turn;
            let permit = own.source.places.acquire().await;
            let mut watched = own.source.is_watched().then(Watched::default);
            let result = own.fetch(subject.as_deref(), watched.as_mut()).await;
            drop(permit);
            let asked = watched.map(|watched| own.asked(watched, result.as_ref().err(), now));
            // One receiver is the slot's own.
            if sender.receiver_count() <= 1 {
                own.source.fetched_ahead(asked.clone());
            }
            own.finish(result, ends, now);
            sender.send_replace(Progress::Over(asked));
        });
        self.waits(done)
    }

    fn asked(&self, watched: Watched, error: Option<&CredentialError>, began: Nanos) -> Arc<Asked> {
        Arc::new(Asked {
            source: self.source.name.clone(),
            began,
            took: self.source.clock.now().since(began),
            watched,
            error: error.map(ToString::to_string),
        })
    }

    async fn fetch(&self, subject: Option<&str>, watched: Option<&mut Watched>) -> Result<Issued, CredentialError> {
        let source = &self.source;
        let wall = source.clock.wall();
        let request = token_request(&source.http, &source.settings, &self.slot.target, subject, wall)?;
        let reply = source.http.ask(request, watched).await?;
        let secrets = [source.settings.secret().unwrap_or_default(), subject.unwrap_or_default()];
        answer::token(source.http.shown(), reply.status, &reply.body, source.clock.wall(), &secrets)
    }

    fn finish(&self, result: Result<Issued, CredentialError>, ends: Option<SystemTime>, began: Nanos) {
        let Self { source, slot } = self;
        let mut state = slot.state.lock();
        state.in_flight = None;
        match result {
            Ok(issued) => {
                state.failures = 0;
                state.failure = None;
                let token = self.token_of(issued, ends, began);
                let bytes = token.header.len();
                slot.current.store(Some(Arc::new(token)));
                drop(state);
                source.succeeded();
                if let Some(place) = &slot.place {
                    source.callers.account(place, bytes);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                state.failures = state.failures.saturating_add(1);
                let backoff = Duration::from_secs(1 << (state.failures - 1).min(8)).min(LONGEST_PAUSE);
                let pause = error.retry_after().map_or(backoff, |asked| asked.max(backoff));
                let until = source.clock.now() + pause;
                state.failure = Some((error.clone(), until));
                drop(state);
                source.failed(&error, until);
            }
        }
    }

    fn token_of(&self, issued: Issued, ends: Option<SystemTime>, began: Nanos) -> Token {
        let Self { source, .. } = self;
        let margin = MARGIN.min(issued.lifetime / 10);
        let life = issued.lifetime - margin;
        // A caller's token that is at its end takes what was made of it along. The end is on the calendar of now, not of then.
        let now = source.clock.now();
        let left = ends.map(|ends| ends.duration_since(source.clock.wall()).unwrap_or_default() + now.since(began));
        let capped = left.filter(|left| *left < life);
        let life = capped.unwrap_or(life);
        // Jitter: replicas that started together do not ask together for ever.
        let lead = source.settings.refresh_before.min(issued.lifetime / 4).mul_f64(1.0 + fastrand::f64() / 2.0);
        let early = life.saturating_sub(lead);
        let refresh = match (capped, issued.refresh_in) {
            // Nothing that is made of the same token would last longer.
            (Some(_), _) => life,
            (None, Some(wanted)) => early.min(wanted.max(life / 4)),
            (None, None) => early,
        };
        Token { header: issued.header, refresh: began + refresh, expires: began + life }
    }
}

impl Slot {
    pub(super) fn new(target: Arc<Target>, place: Option<KeyDigest>) -> Arc<Self> {
        Arc::new(Self { target, place, current: ArcSwapOption::empty(), state: Mutex::default() })
    }

    fn good(&self, now: Nanos) -> Option<HeaderValue> {
        self.current.load().as_ref().filter(|token| now < token.expires).map(|token| token.header.clone())
    }

    /// Whether it holds nothing that anybody could still use.
    pub(super) fn is_spent(&self, now: Nanos) -> bool {
        let state = self.state.lock();
        let pauses = state.failure.as_ref().is_some_and(|(_, until)| now < *until);
        self.good(now).is_none() && state.under_way().is_none() && !pauses
    }
}

impl State {
    fn under_way(&self) -> Option<watch::Receiver<Progress>> {
        // A fetch whose sender is gone without a word ended with its runtime.
        self.in_flight.as_ref().filter(|done| done.has_changed().is_ok()).cloned()
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({})", self.source.name)
    }
}

/// A place among those that wait.
pub(super) struct Turn(Arc<TokenSource>);

impl Turn {
    pub(super) fn take(source: &Arc<TokenSource>, most: usize) -> Option<Self> {
        if source.waiting.fetch_add(1, Ordering::AcqRel) >= most {
            source.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self(source.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
