//! Whether a sandbox's network is what it was built to be, tried at the moment somebody's work is about to be put into it: the
//! gate answers one request and denies another one, and a port without a listener refuses.
//!
//! Both requests are made by the part of the sandbox that its agent can't reach. The answer is a number that nobody in the
//! sandbox can know, so nothing but this gate can have given it.

use crate::Proxy;
use policy::{Destination, HostName};
use std::net::Ipv4Addr;

/// What the denied request asks for.
pub(crate) const DENIED_HOST: &str = "check.invalid";
const PATH: &str = "/hexward/check/";
/// What is shown of an answer that is not right.
const SHOWN_CHARS_MAX: usize = 80;

/// One self-check of one sandbox.
#[derive(Debug)]
pub struct SelfCheck {
    asked: u64,
    answer: u64,
}

/// What has to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Where the gate is asked.
    pub address: Ipv4Addr,
    /// What it is asked, which the agent could overhear.
    pub number: u64,
    /// A port that must refuse.
    pub closed_port: u16,
}

impl SelfCheck {
    /// With new numbers.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, String> {
        let number = || {
            let mut bytes = [0; 8];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
            Ok::<_, String>(u64::from_be_bytes(bytes))
        };
        Ok(Self { asked: number()?, answer: number()? })
    }

    /// What has to be tried; none if this gateway has no place for its own names, which can't be.
    #[must_use]
    pub fn trial(&self, proxy: &Proxy) -> Option<Trial> {
        let name = HostName::parse(Destination::MODEL_NAME).ok()?;
        let (address, taken) = (proxy.hosts.rules.address_of(&name)?, proxy.extra_ports());
        let closed_port = (1..53).find(|port| !taken.contains(port))?;
        Some(Trial { address, number: self.asked, closed_port })
    }

    /// The answer to this path of the model's name, if it is this check's.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        (path.strip_prefix(PATH)? == format!("{:016x}", self.asked)).then(|| format!("{:016x}", self.answer))
    }

    /// Judges the beginnings of both answers, and whether the port refused.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge(&self, own: &str, denied: &str, closed: bool) -> Result<(), String> {
        let (head, body) = own.split_once("\r\n\r\n").unwrap_or((own, ""));
        if !head.starts_with("HTTP/1.1 200 ") || body != format!("{:016x}", self.answer) {
            return Err(format!("the gateway did not answer there, but: {}", shown(own)));
        }
        let head = denied.split_once("\r\n\r\n").map_or(denied, |(head, _)| head);
        let is_denied = head.split("\r\n").any(|line| line == "x-hexward-denial: egress.host");
        if !head.starts_with("HTTP/1.1 403 ") || !is_denied {
            return Err(format!("a name that nobody may reach was not denied, but: {}", shown(denied)));
        }
        if !closed {
            return Err("a port that nobody has did not refuse".to_owned());
        }
        Ok(())
    }
}

/// Its first line, in visible characters.
fn shown(answer: &str) -> String {
    let line = answer.lines().next().unwrap_or("");
    line.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: SelfCheck = SelfCheck { asked: 1, answer: 0xab };
    const OWN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n00000000000000ab";
    const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nx-hexward-denial: egress.host\r\n\r\n{";

    #[test]
    fn only_this_gates_answers_are_good() {
        assert_eq!(CHECK.answer("/hexward/check/0000000000000001").as_deref(), Some("00000000000000ab"));
        for other in ["/hexward/check/0000000000000002", "/hexward/check/1", "/hexward/check/", "/v1/messages", ""] {
            assert_eq!(CHECK.answer(other), None, "{other:?}");
        }
        assert_eq!(CHECK.judge(OWN, DENIED, true), Ok(()));
        let echoed = OWN.replace("ab", "01");
        let allowed = "HTTP/1.1 200 OK\r\n\r\nx-hexward-denial: egress.host\r\n";
        let otherwise = DENIED.replace("egress.host", "run.none");
        for (own, denied, closed) in [
            (echoed.as_str(), DENIED, true),
            ("HTTP/1.1 403 Forbidden\r\n\r\n00000000000000ab", DENIED, true),
            ("HTTP/1.1 200 OK\r\nx: 00000000000000ab", DENIED, true),
            ("(Connection refused)", DENIED, true),
            ("", "", true),
            (OWN, OWN, true),
            (OWN, allowed, true),
            (OWN, otherwise.as_str(), true),
            (OWN, "(timed out)", true),
            (OWN, DENIED, false),
        ] {
            assert!(CHECK.judge(own, denied, closed).is_err(), "{own:?} {denied:?} {closed}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_visible() {
        let told = CHECK.judge(&"\u{1b}[2J".repeat(100), "", true).expect_err("refused");
        assert!(told.len() < 700 && told.chars().all(|c| !c.is_control()), "{told}");
    }

    #[test]
    fn no_two_checks_are_alike() {
        let (one, two) = (SelfCheck::new().expect("random"), SelfCheck::new().expect("random"));
        assert!(one.asked != two.asked && one.answer != two.answer && one.asked != one.answer);
    }
}
