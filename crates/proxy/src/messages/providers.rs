//! The providers that may answer: their addresses and keys, and which is to be left alone.
//!
//! Invariant: a key leaves this file only inside an [`Attempt`], as a header value that is marked as sensitive; a key that was
//! replaced is no longer held by anything once the attempts that were under way are over. A key that may do more than call a
//! model (an admin key) is never taken.

use super::upstream::{ModelUpstream, UpstreamError};
use crate::connections::Connections;
use arc_swap::ArcSwap;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use policy::{Breaker, BreakerRules, CallOutcome, Candidate, Pace, Passage, Timestamp, choose, free_again};
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Messages API with `x-api-key`.
    Anthropic,
}

/// One provider, as configured.
pub struct ProviderConfig {
    /// Its name, for commands, logs and files.
    pub name: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// `https://HOST`, or `http://` on loopback.
    pub address: String,
    /// The keys with their shares; at least one.
    pub keys: Vec<(SecretString, u32)>,
    /// The models it is asked for; empty for all.
    pub models: Vec<String>,
    /// Smaller is tried first.
    pub order: u32,
    /// Its share among those of the same order.
    pub weight: u32,
}

impl ProviderConfig {
    /// The only provider there is, with one key, for every model.
    #[must_use]
    pub fn only(address: &str, key: SecretString) -> Self {
        Self {
            name: "default".to_owned(),
            protocol: Protocol::Anthropic,
            address: address.to_owned(),
            keys: vec![(key, 1)],
            models: Vec::new(),
            order: 0,
            weight: 1,
        }
    }
}

/// Why providers can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The address is wrong, or a key can't be sent.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Far more power than calling a model needs.
    #[error("the key is an admin key, which can do far more than call a model; use an ordinary API key")]
    AdminKey,
    /// There is no such provider.
    #[error("there is no provider {0:?}")]
    Unknown(String),
}

/// Models of one provider that are told apart by breakers; those beyond share one.
const MODELS_MAX: usize = 256;

struct Key {
    secret: SecretString,
    weight: u32,
    pace: Mutex<Pace>,
}

impl Key {
    fn new(secret: SecretString, weight: u32) -> Result<Arc<Self>, ProviderError> {
        check_key(&secret)?;
        Ok(Arc::new(Self { secret, weight, pace: Mutex::new(Pace::default()) }))
    }
}

/// Whether a key may be used.
///
/// # Errors
/// [`ProviderError`].
pub fn check_key(key: &SecretString) -> Result<(), ProviderError> {
    let text = key.expose_secret();
    if text.trim_start().to_ascii_lowercase().starts_with("sk-ant-admin") {
        return Err(ProviderError::AdminKey);
    }
    if text.is_empty() || HeaderValue::from_str(text).is_err() {
        return Err(UpstreamError::Key.into());
    }
    Ok(())
}

struct Provider {
    name: String,
    protocol: Protocol,
    base: Uri,
    connections: Arc<Connections>,
    models: Vec<String>,
    order: u32,
    weight: u32,
    /// As configured, for when a rotated key is forgotten.
    configured: Vec<Arc<Key>>,
    keys: ArcSwap<Vec<Arc<Key>>>,
    breakers: Mutex<HashMap<String, Breaker>>,
}

impl Provider {
    fn has(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|known| known == model || policy::is_version_of(model, known))
    }

    fn with_breaker<T>(&self, model: &str, work: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.breakers.lock();
        // Names come from callers; what there are too many of shares one breaker.
        let name = if breakers.len() < MODELS_MAX || breakers.contains_key(model) { model } else { "" };
        if !breakers.contains_key(name) {
            breakers.insert(name.to_owned(), Breaker::new(BreakerRules::default()));
        }
        let mut fallback = Breaker::new(BreakerRules::default());
        work(breakers.get_mut(name).unwrap_or(&mut fallback))
    }
}

/// All providers.
pub struct Providers {
    all: Vec<Arc<Provider>>,
}

impl Providers {
    /// Checks addresses and keys.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn new(configs: Vec<ProviderConfig>) -> Result<Self, ProviderError> {
        let made = configs.into_iter().map(|config| {
            let base = ModelUpstream::check(&config.address)?;
            let keys = config.keys.into_iter().map(|(secret, weight)| Key::new(secret, weight)).collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(Provider {
                name: config.name,
                protocol: config.protocol,
                connections: Arc::new(Connections::new(base.clone()).map_err(UpstreamError::Tls)?),
                base,
                models: config.models,
                order: config.order,
                weight: config.weight,
                configured: keys.clone(),
                keys: ArcSwap::from_pointee(keys),
                breakers: Mutex::default(),
            }))
        });
        Ok(Self { all: made.collect::<Result<_, ProviderError>>()? })
    }

    /// The names, in the configuration's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|provider| provider.name.as_str())
    }

    /// Uses another key for this provider from the next call on; without one, those that are configured.
    ///
    /// # Errors
    /// [`ProviderError`]; then everything stays as it is.
    pub fn rotate(&self, name: &str, key: Option<SecretString>) -> Result<(), ProviderError> {
        let provider = self.all.iter().find(|provider| provider.name == name);
        let provider = provider.ok_or_else(|| ProviderError::Unknown(name.to_owned()))?;
        let keys = match key {
            Some(key) => vec![Key::new(key, 1)?],
            None => provider.configured.clone(),
        };
        provider.keys.store(Arc::new(keys));
        Ok(())
    }

    /// What a call of this model may be tried with, one after the other.
    #[must_use]
    pub fn attempts(&self, model: &str) -> Attempts {
        let of_provider = |provider: &Arc<Provider>| {
            let keys: Vec<_> = provider.keys.load().iter().map(Arc::clone).collect();
            keys.into_iter().map(|key| (Arc::clone(provider), key)).collect::<Vec<_>>()
        };
        // The list of models is of no model.
        let ways = self.all.iter().filter(|provider| model.is_empty() || provider.has(model)).flat_map(of_provider).collect();
        Attempts { ways, tried: Vec::new(), model: model.into() }
    }
}

/// The ways a call may go that were not tried yet.
pub struct Attempts {
    ways: Vec<(Arc<Provider>, Arc<Key>)>,
    tried: Vec<usize>,
    model: Arc<str>,
}

/// A number that nobody knows before, for choices and pauses: of a hash under keys that the system made at random. Not a secret.
#[must_use]
pub fn chance() -> u64 {
    RandomState::new().hash_one(())
}

impl Attempts {
    /// The next way, none when each was tried or must be left alone. `chance` is any number.
    pub fn next(&mut self, chance: u64, now: Timestamp) -> Option<Attempt> {
        loop {
            let at = choose(&self.candidates(now), &self.tried, chance, now)?;
            self.tried.push(at);
            let (provider, key) = self.ways.get(at).map(|(provider, key)| (Arc::clone(provider), Arc::clone(key)))?;
            // Another call may have become the probe meanwhile; then this way is passed over.
            if let Ok(passage) = provider.with_breaker(&self.model, |breaker| breaker.enter(now)) {
                return Some(Attempt { provider, key, model: Arc::clone(&self.model), began: now, passage: Some(passage) });
            }
        }
    }

    /// Whether another way is free, so that this way's error need not be the last word.
    #[must_use]
    pub fn has_next(&self, now: Timestamp) -> bool {
        choose(&self.candidates(now), &self.tried, 0, now).is_some()
    }

    /// Seconds after which asking again may help, when [`Attempts::next`] returned nothing: 1 to 600.
    #[must_use]
    pub fn retry_after_secs(&self, now: Timestamp) -> u64 {
        let micros = free_again(&self.candidates(now)).map_or(1_000_000, |free| free.0.saturating_sub(now.0));
        u64::try_from(micros).unwrap_or(0).div_ceil(1_000_000).clamp(1, 600)
    }

    fn candidates(&self, now: Timestamp) -> Vec<Candidate> {
        let candidate = |(provider, key): &(Arc<Provider>, Arc<Key>)| {
            let broken = provider.with_breaker(&self.model, |breaker| breaker.look(now)).err();
            let paced = key.pace.lock().look(now).err();
            let weight = provider.weight.saturating_mul(key.weight);
            Candidate { order: provider.order, weight, not_before: broken.max(paced) }
        };
        self.ways.iter().map(candidate).collect()
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider answered with this status. `retry_after_secs` is what it said with a 429.
    Answered {
        /// HTTP status.
        status: u16,
        /// `retry-after`.
        retry_after_secs: Option<u64>,
    },
    /// No connection.
    Unreachable,
    /// Connected, but no first byte in time, or a break before it.
    NoFirstByte,
    /// Broken or silent after the first byte.
    CutLate,
    /// The client went away first.
    Left,
}

impl Outcome {
    /// Whether another provider or key may be asked. Never after the first byte, never for what the caller did wrong.
    #[must_use]
    pub const fn may_fail_over(self) -> bool {
        match self {
            Self::Answered { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504 | 529),
            Self::Unreachable => true,
            // The request left: it may be worked on and charged, which its own reservation pays for.
            Self::NoFirstByte => true,
            Self::CutLate | Self::Left => false,
        }
    }

    const fn of_provider(self) -> CallOutcome {
        match self {
            Self::Answered { status: 500 | 502..=504 | 529, .. } | Self::Unreachable | Self::NoFirstByte => CallOutcome::Failed,
            Self::Answered { status: 429, .. } | Self::Left => CallOutcome::Neither,
            Self::Answered { .. } => CallOutcome::Served,
            Self::CutLate => CallOutcome::FailedLate,
        }
    }
}

/// One way for one call, with what it needs to be sent. Reports once; dropped without a report, it counts as said nothing.
pub struct Attempt {
    provider: Arc<Provider>,
    key: Arc<Key>,
    model: Arc<str>,
    began: Timestamp,
    passage: Option<Passage>,
}

impl Attempt {
    /// The provider's name.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider.name
    }

    /// How it is spoken to.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.provider.protocol
    }

    /// Where it is: scheme and authority.
    pub(super) fn base(&self) -> &Uri {
        &self.provider.base
    }

    /// The connections to it.
    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.provider.connections
    }

    /// The key, for the one header it stands in. The value is marked, so that nothing prints it.
    pub(super) fn key(&self) -> HeaderValue {
        // It was checked when it was taken.
        let mut value = HeaderValue::from_str(self.key.secret.expose_secret()).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// A good answer has begun.
    pub fn begins(&self) {
        if let Some(passage @ Passage::Probe(_)) = self.passage {
            self.provider.with_breaker(&self.model, |breaker| breaker.begun(passage));
        }
    }

    /// How it ended; `chance` is any number.
    pub fn report(mut self, outcome: Outcome, chance: u64, now: Timestamp) {
        match outcome {
            Outcome::Answered { status: 429, retry_after_secs } => self.key.pace.lock().refused(retry_after_secs, chance, now),
            Outcome::Answered { status: 200..=299, .. } => self.key.pace.lock().accepted(),
            Outcome::Answered { .. } | Outcome::Unreachable | Outcome::NoFirstByte | Outcome::CutLate | Outcome::Left => {}
        }
        self.tell(outcome.of_provider(), now);
    }

    fn tell(&mut self, outcome: CallOutcome, now: Timestamp) {
        if let Some(passage) = self.passage.take() {
            self.provider.with_breaker(&self.model, |breaker| breaker.report(passage, outcome, now));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let began = self.began;
        self.tell(CallOutcome::Neither, began);
    }
}

#[cfg(test)]
mod tests;
