//! Tells host applications what happened, over signed requests. What is told waits in the store's outbox; here it is sent.
//!
//! Invariant: the address that was judged is the one that is dialled ([`crate::egress`]); nothing that an endpoint answers leads
//! anywhere else, and of what it says only the status is read.

mod send;
mod sign;

pub use sign::{SECRET_BYTES_MIN, SecretError, WebhookSecret};

use policy::{Clock, WEBHOOK_WAITS, WebhookEvent};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError, WebhookRoute};
use tokio_util::sync::CancellationToken;
use url::Url;

/// How often a look is taken whether something is due.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// After trouble with the database.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// Where a host application is told of what.
#[derive(Clone)]
pub struct WebhookEndpoint {
    /// The host application.
    pub host: String,
    /// Its endpoint's name.
    pub id: String,
    /// Where it is.
    pub url: Url,
    /// What is signed with: the present one, and one that is still or already good.
    pub secrets: Vec<WebhookSecret>,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
    /// Whether its address may be this machine's or a private one.
    pub danger_allow_private: bool,
}

/// Why an address can't be an endpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFormError {
    /// Not that kind of address.
    #[error("must be an https address, like https://shop.example/hooks/hexward")]
    Form,
    /// What stands in an address stands in logs.
    #[error("must have no user and no password in it; deliveries are signed instead")]
    Credentials,
    /// Anybody on the way could read it.
    #[error("must be https; http is for tests alone, together with danger_allow_private")]
    Plain,
}

/// Whether an address can be an endpoint's at all. Where it leads is judged at each try.
///
/// # Errors
/// [`AddressFormError`].
pub fn check_address(text: &str, danger_allow_private: bool) -> Result<Url, AddressFormError> {
    let url = Url::parse(text).ok().filter(Url::has_host).ok_or(AddressFormError::Form)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressFormError::Credentials);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if danger_allow_private => Ok(url),
        "http" => Err(AddressFormError::Plain),
        _ => Err(AddressFormError::Form),
    }
}

/// All endpoints of a configuration.
#[derive(Clone, Default)]
pub struct WebhookSettings {
    /// Where to tell.
    pub endpoints: Vec<WebhookEndpoint>,
    /// How long after each failed try the next one comes; none for the usual times.
    pub waits: Option<Vec<Duration>>,
}

/// What tells all endpoints of a configuration.
pub struct Webhooks {
    endpoints: Vec<WebhookEndpoint>,
    waits: Vec<Duration>,
    tls: Arc<ClientConfig>,
}

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// Nobody could prove that it is the host.
    #[error("no certificate authorities were found on this machine, which webhooks need: install its ca-certificates")]
    NoRoots,
    /// TLS could not be set up.
    #[error("TLS for webhooks: {0}")]
    Tls(#[from] rustls::Error),
}

impl Webhooks {
    /// The hosts of endpoints are verified against the platform's roots.
    ///
    /// # Errors
    /// [`WebhooksError`].
    pub fn new(WebhookSettings { endpoints, waits }: WebhookSettings) -> Result<Self, WebhooksError> {
        let mut roots = RootCertStore::empty();
        if endpoints.iter().any(|endpoint| endpoint.url.scheme() == "https") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(WebhooksError::NoRoots);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let waits = waits.unwrap_or_else(|| WEBHOOK_WAITS.to_vec());
        Ok(Self { endpoints, waits, tls: Arc::new(tls) })
    }

    /// Makes the endpoints known to the store, so that from now on events are written for them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn register(&self, store: &Store, clock: &dyn Clock) -> Result<(), StoreError> {
        let route = |endpoint: &WebhookEndpoint| WebhookRoute {
            host: endpoint.host.clone(),
            endpoint: endpoint.id.clone(),
            events: endpoint.events.clone(),
        };
        store.set_webhooks(self.endpoints.iter().map(route).collect(), clock.now()).await
    }

    /// Tells, until it is stopped. A try that is on its way then is made again by whoever comes next.
    pub async fn keep_telling(self, store: Store, clock: Arc<dyn Clock>, gateway: String, stop: CancellationToken) {
        let waits: Arc<[Duration]> = self.waits.into();
        let tellers = self.endpoints.into_iter().map(|endpoint| {
            let (store, clock) = (store.clone(), Arc::clone(&clock));
            Teller { endpoint, waits: Arc::clone(&waits), tls: Arc::clone(&self.tls), store, clock, gateway: gateway.clone() }
        });
        futures_util::future::join_all(tellers.map(|teller| teller.keep_telling(stop.clone()))).await;
        if let Err(error) = store.let_webhooks_go(&gateway).await {
            tracing::warn!(%error, "others deliver webhooks only after a minute");
        }
    }
}

/// Tells one endpoint.
struct Teller {
    endpoint: WebhookEndpoint,
    waits: Arc<[Duration]>,
    tls: Arc<ClientConfig>,
    store: Store,
    clock: Arc<dyn Clock>,
    gateway: String,
}

impl Teller {
    async fn keep_telling(self, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                told = self.tell_next() => match told {
                    Ok(true) => continue,
                    Ok(false) => LOOK_PAUSE,
                    Err(error) => {
                        tracing::error!(%error, "webhooks wait, because the database can't be used");
                        TROUBLE_PAUSE
                    }
                },
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Makes one try, if one is due. True if there was one.
    async fn tell_next(&self) -> Result<bool, StoreError> {
        let WebhookEndpoint { host, id, .. } = &self.endpoint;
        let Some(delivery) = self.store.next_delivery(host, id, &self.gateway, self.clock.now()).await? else { return Ok(false) };
        let sent = send::send(&self.endpoint, &self.tls, &delivery, self.clock.now()).await;
        let now = self.clock.now();
        match sent {
            Ok(()) => self.store.delivered(&delivery.id, &self.gateway, now).await?,
            Err(error) => {
                let at = usize::try_from(delivery.attempt).unwrap_or(usize::MAX).saturating_sub(1);
                let wait = self.waits.get(at).copied();
                let (delivery_id, attempt) = (&delivery.id, delivery.attempt);
                match wait {
                    Some(_) => {
                        tracing::info!(%host, endpoint = %id, delivery = %delivery_id, attempt, %error, "a webhook was not taken")
                    }
                    None => tracing::warn!(
                        %host, endpoint = %id, delivery = %delivery_id, attempt, %error,
                        "a webhook is given up; `hexward webhooks retry` tries it again"
                    ),
                }
                self.store.not_delivered(&delivery.id, &self.gateway, &error.to_string(), wait, now).await?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
