//! An assertion of a user: a JSON Web Token (RFC 7519) in the compact form. It is read strictly, its signature is checked with a key of
//! the host that signed it, and what it says is judged by `policy`.
//!
//! Invariant: the algorithm is one of the host's own, and the key has its kind; nothing in the token says where a key is.

use super::Host;
use super::keys::Verdict;
use axum::http::HeaderMap;
use data_encoding::BASE64URL_NOPAD;
use policy::{
    Asserted, AssertionAlgorithm, AssertionClaims, AssertionFault, DenialCode, Timestamp, digest_bytes, judge_assertion,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Where it stands.
const HEADER: &str = "x-hexward-user";
const BYTES_MAX: usize = 8 << 10;
const KEY_ID_CHARS_MAX: usize = 200;
/// Members of a header that would have us believe or fetch something.
const HEADER_REFUSED: [&str; 7] = ["crit", "jku", "jwk", "x5u", "b64", "zip", "enc"];

/// A user for whom a host spoke, and how this is known again.
pub(super) struct Verified {
    pub(super) asserted: Asserted,
    pub(super) id_digest: [u8; 32],
    pub(super) token_digest: [u8; 32],
}

/// The parts of a token whose form is right.
pub(super) struct Parsed<'a> {
    pub(super) algorithm: AssertionAlgorithm,
    pub(super) key_id: Option<String>,
    /// What was signed.
    pub(super) message: &'a str,
    /// As it stands there.
    pub(super) signature: &'a str,
    claims: AssertionClaims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: String,
    jti: String,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Host {
    /// The user for whom a request is made.
    pub(super) async fn verify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Verified, DenialCode> {
        let token = shown(headers).map_err(AssertionFault::code)?;
        let tier = self.rules.tier_claim.as_deref();
        let parsed = parse(token, &self.algorithms, tier).map_err(AssertionFault::code)?;
        match self.keys.verify(&parsed, now).await {
            Verdict::Good => {}
            Verdict::NoKey => return Err(AssertionFault::Key.code()),
            Verdict::Bad => return Err(AssertionFault::Signature.code()),
            Verdict::Unavailable => return Err(DenialCode::AssertionKeys),
        }
        let asserted = judge_assertion(&self.rules, &parsed.claims, now).map_err(AssertionFault::code)?;
        let (id_digest, token_digest) = (digest_bytes(parsed.claims.id.as_bytes()), digest_bytes(token.as_bytes()));
        Ok(Verified { asserted, id_digest, token_digest })
    }
}

/// The one assertion that a request shows.
fn shown(headers: &HeaderMap) -> Result<&str, AssertionFault> {
    let mut all = headers.get_all(HEADER).iter();
    let first = all.next().ok_or(AssertionFault::Missing)?;
    if all.next().is_some() {
        return Err(AssertionFault::Missing);
    }
    first.to_str().ok().filter(|token| token.len() <= BYTES_MAX).ok_or(AssertionFault::Malformed)
}

/// Reads a token; nothing of it is believed yet.
pub(super) fn parse<'a>(
    token: &'a str,
    algorithms: &[AssertionAlgorithm],
    tier: Option<&str>,
) -> Result<Parsed<'a>, AssertionFault> {
    let (message, signature) = token.rsplit_once('.').ok_or(AssertionFault::Malformed)?;
    let (header, claims) =
        message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or(AssertionFault::Malformed)?;
    let header: Header = json(header)?;
    let algorithm = AssertionAlgorithm::parse(&header.alg).filter(|known| algorithms.contains(known));
    let algorithm = algorithm.ok_or(AssertionFault::Algorithm)?;
    let is_jwt = header.typ.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("jwt"));
    if !is_jwt || HEADER_REFUSED.iter().any(|name| header.others.contains_key(*name)) {
        return Err(AssertionFault::Algorithm);
    }
    if header.kid.as_ref().is_some_and(|kid| kid.chars().count() > KEY_ID_CHARS_MAX) {
        return Err(AssertionFault::Key);
    }
    let Claims { iss, aud, sub, jti, iat, exp, nbf, others } = json(claims)?;
    let audiences = match aud {
        Audience::One(one) => vec![one],
        Audience::Several(several) => several,
    };
    let tier = tier.and_then(|claim| others.get(claim)).and_then(Value::as_str).map(str::to_owned);
    let claims =
        AssertionClaims { issuer: iss, audiences, subject: sub, id: jti, issued_at: iat, expires_at: exp, not_before: nbf, tier };
    Ok(Parsed { algorithm, key_id: header.kid, message, signature, claims })
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, AssertionFault> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| AssertionFault::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| AssertionFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    const CLAIMS: &str = r#"{"iss":"i","aud":"a","sub":"s","jti":"1","iat":1,"exp":2,"tier":"gold"}"#;

    fn fault_of(token: &str) -> Option<AssertionFault> {
        parse(token, &[AssertionAlgorithm::Hs256], Some("tier")).err()
    }

    #[test]
    fn a_token_is_read_whole() {
        let token = token(r#"{"alg":"HS256","typ":"JWT","kid":"k"}"#, CLAIMS);
        let parsed = parse(&token, &[AssertionAlgorithm::Hs256], Some("tier")).expect("it is one");
        assert_eq!((parsed.key_id.as_deref(), parsed.claims.tier.as_deref()), (Some("k"), Some("gold")));
        assert_eq!(format!("{}.{}", parsed.message, parsed.signature), token);
    }

    #[test]
    fn a_header_may_not_ask_for_anything() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","jku":"https://evil.example"}"#,
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
            r#"{"alg":"HS256","x5u":"https://evil.example"}"#,
            r#"{"alg":"HS256","b64":false}"#,
            r#"{"alg":"HS256","zip":"DEF"}"#,
        ] {
            assert_eq!(fault_of(&token(header, CLAIMS)), Some(AssertionFault::Algorithm), "{header}");
        }
        let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(201));
        assert_eq!(fault_of(&token(&long, CLAIMS)), Some(AssertionFault::Key));
    }

    #[test]
    fn what_is_no_token_is_none() {
        let good = r#"{"alg":"HS256"}"#;
        for broken in ["", "a", "a.b", "a.b.c", "..", "e30.e30.", "e30.e30.e30.e30"] {
            assert_eq!(fault_of(broken), Some(AssertionFault::Malformed), "{broken}");
        }
        for header in ["[]", "{}", r#"{"alg":7}"#, r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"alg":"HS256","kid":7}"#] {
            assert_eq!(fault_of(&token(header, CLAIMS)), Some(AssertionFault::Malformed), "{header}");
        }
        for claims in [
            "{}",
            r#"{"iss":"i","aud":"a","sub":"s","iat":1,"exp":2}"#,
            r#"{"iss":"i","aud":"a","sub":"s","jti":"1","iat":1}"#,
            r#"{"iss":"i","aud":"a","sub":7,"jti":"1","iat":1,"exp":2}"#,
            r#"{"iss":"i","aud":[7],"sub":"s","jti":"1","iat":1,"exp":2}"#,
            r#"{"iss":"i","aud":"a","sub":"s","jti":"1","iat":1,"exp":"2"}"#,
            r#"{"iss":"i","aud":"a","sub":"s","jti":"1","iat":1,"exp":1e99}"#,
            r#"{"iss":"i","aud":"a","sub":"s","sub":"t","jti":"1","iat":1,"exp":2}"#,
        ] {
            assert_eq!(fault_of(&token(good, claims)), Some(AssertionFault::Malformed), "{claims}");
        }
    }
}
