//! What every request must pass: a Host that is ours (a foreign page can't rebind a name to us), and for everything but
//! pages and their files, an origin that is ours.

use crate::answer::Refusal;
use crate::{Shared, forwarded};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

pub(crate) async fn check(State(web): State<Shared>, request: Request, next: Next) -> Result<Response, Refusal> {
    if !web.runs.driver().confines()
        && let Some(header) = forwarded::trace_of_a_proxy(request.headers())
    {
        web.warn_of_proxy(header);
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "direct.forwarded",
            "This server runs in direct mode, for development on its own machine, and this request came through a proxy. Remove \
             the proxy, or have the operator remove USE_SANDBOX=false.",
        ));
    }
    // A load balancer probes by address; the answer tells nothing.
    if request.uri().path() == "/healthz" {
        return Ok(next.run(request).await);
    }
    let host = single(request.headers(), &header::HOST).unwrap_or_default();
    let public = web.settings.public_origin.as_deref();
    if !is_own_host(host, public) {
        return Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "This server does not answer to that name. Use the address it was set up with.",
        ));
    }
    // Pages may be linked to from anywhere. Everything else is for our own pages: a foreign one that could as much as begin a
    // session would put a new cookie in the place of the old one.
    let page = matches!(*request.method(), Method::GET | Method::HEAD) && !request.uri().path().starts_with("/api/");
    if !page && !is_same_origin(request.headers(), host, public) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin",
            "This request came from another site's page, so it was refused.",
        ));
    }
    Ok(next.run(request).await)
}

fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Loopback names with any port, or the configured public host exactly.
fn is_own_host(host: &str, public: Option<&str>) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let loopback = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    let is_public = public.is_some_and(|origin| origin.split_once("://").is_some_and(|(_, authority)| authority == host));
    loopback || is_public
}

/// Browsers say where a request comes from; what says nothing is no browser and has no cookie that a page could use.
fn is_same_origin(headers: &HeaderMap, host: &str, public: Option<&str>) -> bool {
    if let Some(site) = single(headers, &header::HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return false;
    }
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let Some(origin) = single(headers, &header::ORIGIN) else { return false };
    origin == format!("http://{host}") || origin == format!("https://{host}") || Some(origin) == public
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    #[test]
    fn only_own_names_are_answered() {
        for own in ["localhost", "localhost:7410", "127.0.0.1:1", "[::1]:80"] {
            assert!(is_own_host(own, None), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "evil.example:7410",
            "localhost@evil.example",
        ] {
            assert!(!is_own_host(other, None), "{other}");
        }
        assert!(is_own_host("map.example.org", Some("https://map.example.org")));
        assert!(!is_own_host("map.example.org:444", Some("https://map.example.org")));
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let ask = |pairs: &[(&'static str, &'static str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
            is_same_origin(&headers, "localhost:7410", Some("https://map.example.org"))
        };
        assert!(ask(&[]) && ask(&[("origin", "http://localhost:7410"), ("sec-fetch-site", "same-origin")]));
        assert!(ask(&[("origin", "https://map.example.org")]));
        for bad in ["null", "http://evil.example", "http://localhost:7411", ""] {
            assert!(!ask(&[("origin", bad)]), "{bad}");
        }
        assert!(!ask(&[("sec-fetch-site", "cross-site")]) && !ask(&[("sec-fetch-site", "same-site")]));
        assert!(!ask(&[("origin", "http://localhost:7410"), ("origin", "http://evil.example")]));
    }
}
