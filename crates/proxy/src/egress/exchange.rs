//! One request to a host that a rule names, and its answer. Bodies are streamed and not changed; redirects are the client's
//! business, who asks again and is judged again.

use super::door::Door;
use super::headers::{self, Inserted};
use super::passing::Passing;
use super::redact::Redactor;
use super::request::Way;
use super::tunnel;
use super::{dial::DialError, request};
use crate::answer::{self, Body};
use crate::context::RunContext;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Error as ClientError;
use policy::{DenialCode, EgressRequest, HostName, Scheme};
use std::time::Duration;

/// From the request to the head of the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// What a request became on its way out.
struct Outgoing {
    request: Request<Body>,
    redactor: Option<Redactor>,
    /// The client's side of a WebSocket, if it asked for one.
    upgrade: Option<OnUpgrade>,
}

/// Passes one request on.
pub(super) async fn pass(door: &Door, way: &Way, host: &HostName, request: Request<Incoming>) -> Response<Body> {
    let asked = EgressRequest {
        scheme: way.scheme,
        host,
        port: way.dialled.port(),
        method: request.method().as_str(),
        path: request.uri().path(),
    };
    let credential = match door.hosts.rules.decide(&asked) {
        Ok(rule) => door.hosts.credential(rule),
        Err(denial) => return answer::egress_denied(StatusCode::FORBIDDEN, &door.write_down(denial).await),
    };
    let wanted = format!("{}:{}", host, way.dialled.port());
    let Some(run) = door.gate.bound() else {
        return answer::egress_denied(StatusCode::FORBIDDEN, &door.refuse(DenialCode::RunNone, &wanted).await);
    };
    let Some(place) = door.exchange(&run) else {
        return answer::egress_denied(StatusCode::TOO_MANY_REQUESTS, &door.refuse(DenialCode::EgressBusy, &wanted).await);
    };
    let Some(Outgoing { request, redactor, upgrade }) = outgoing(&run, way, host, request, credential) else {
        return answer::egress_denied(StatusCode::FORBIDDEN, &door.refuse(DenialCode::EgressProtocol, &wanted).await);
    };
    let over = run.over();
    let answered = tokio::select! {
        // First: of a run that is over nothing leaves.
        biased;
        () = over.cancelled() => return answer::egress_denied(StatusCode::FORBIDDEN, &door.refuse(DenialCode::RunNone, &wanted).await),
        answered = tokio::time::timeout(ANSWER_WAIT, door.client.request(request)) => answered,
    };
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return failed(door, host, &wanted, &error).await,
        Err(_) => return answer::egress_failed(StatusCode::GATEWAY_TIMEOUT, "The host did not answer in time."),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match upgrade {
            Some(client) => tunnel::open(door, over, client, response, redactor, place),
            None => answer::egress_failed(StatusCode::BAD_GATEWAY, "The host changed the protocol without being asked."),
        };
    }
    if redactor.is_some() && !is_readable(&response) {
        return answer::egress_failed(StatusCode::BAD_GATEWAY, "The host's answer is encoded, so it could not be checked.");
    }
    let headers = headers::to_client(response.headers(), redactor.as_ref());
    let (head, body) = response.into_parts();
    let mut back = Response::new(Passing::new(body, over, redactor).holding(place).boxed_unsync());
    *back.status_mut() = head.status;
    *back.headers_mut() = headers;
    back
}

/// The request as it leaves; none for an address that can't be written down again.
fn outgoing(
    run: &RunContext,
    way: &Way,
    host: &HostName,
    mut request: Request<Incoming>,
    credential: Option<(Inserted, Redactor)>,
) -> Option<Outgoing> {
    let upgrade = request::asks_for_websocket(&request).then(|| hyper::upgrade::on(&mut request));
    let (inserted, redactor) = credential.unzip();
    let (head, body) = request.into_parts();
    let (port, path) = (way.dialled.port(), head.uri.path_and_query().map_or("/", |path| path.as_str()));
    let scheme = match way.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let uri: Uri = format!("{scheme}://{host}:{port}{path}").parse().ok()?;
    let mut headers = headers::to_host(&head.headers, inserted.as_ref());
    let said = if [80, 443].contains(&port) { host.to_string() } else { format!("{host}:{port}") };
    headers.insert(header::HOST, HeaderValue::from_str(&said).ok()?);
    if upgrade.is_some() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let mut out = Request::new(Passing::new(body, run.over(), None).boxed_unsync());
    *out.method_mut() = head.method;
    *out.uri_mut() = uri;
    *out.version_mut() = Version::HTTP_11;
    *out.headers_mut() = headers;
    Some(Outgoing { request: out, redactor, upgrade })
}

/// Whether an answer's bytes are what the host said, and not packed.
fn is_readable(response: &Response<Incoming>) -> bool {
    let mut encodings = response.headers().get_all(header::CONTENT_ENCODING).iter();
    encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// A refused address is a refusal; everything else is the host's fault, said in one sentence without what the host said.
async fn failed(door: &Door, host: &HostName, wanted: &str, error: &ClientError) -> Response<Body> {
    let dial = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .find_map(|error| error.downcast_ref::<DialError>());
    tracing::info!(sandbox = %door.gate.sandbox, %host, error = dial.map(ToString::to_string), "an allowed host could not be asked");
    match dial {
        Some(DialError::Refused(fault)) => {
            let denial = door.refuse(DenialCode::EgressAddress, &format!("{wanted} is {fault}")).await;
            answer::egress_denied(StatusCode::FORBIDDEN, &denial)
        }
        Some(DialError::Name(_)) => answer::egress_failed(StatusCode::BAD_GATEWAY, "The host's name could not be resolved."),
        Some(DialError::Tls(_)) => answer::egress_failed(StatusCode::BAD_GATEWAY, "The host could not prove its name over TLS."),
        Some(DialError::Connect(_) | DialError::Slow | DialError::NoRule) => {
            answer::egress_failed(StatusCode::BAD_GATEWAY, "The host could not be connected to.")
        }
        None => answer::egress_failed(StatusCode::BAD_GATEWAY, "The exchange with the host broke off."),
    }
}
