//! The one edit of a body there ever is: a smaller number at `max_tokens`. Where a budget has room for a shorter answer only, or is
//! nearly used up, a call is made smaller instead of refused, as far as its own rules allow.

use super::Notes;
use super::forward::Asked;
use super::{Caller, open};
use crate::Proxy;
use bytes::{Bytes, BytesMut};
use policy::{
    BudgetLine, ModelPath, ModelRequest, OUTPUT_TOKENS_MIN, Prompt, RequestBody, Throttle, affordable_output, ceiling_of,
    throttle,
};
use store::{OpenError, OpenModelCall, StoreError};

/// Opens a call; if a budget is short, a smaller one that fits.
pub(super) async fn open_fitting(
    proxy: &Proxy,
    caller: &Caller,
    asked: &mut Asked,
    said: &Notes<'_>,
) -> Result<OpenModelCall, OpenError> {
    let view = caller.view();
    asked.request.prompt = caller.prefixes().prompt_of(&asked.beginnings, said.provider, asked.whole);
    if proxy.ledger.is_near(&view.budgets) {
        let most = Throttle::Near.output_tokens_max(view.output_tokens_max);
        asked.shorten(most);
    }
    let (denial, room) = match open(proxy, caller, asked.request.clone(), said).await {
        Err(OpenError::Short { denial, room }) => (denial, room),
        other => return other,
    };
    let now = proxy.clock.now();
    let ceiling = |output| ceiling_of(&asked.request, output, &view, &proxy.prices, now);
    let fits = affordable_output(asked.request.max_tokens, asked.thinking_tokens, room, ceiling);
    if let Some(output) = fits
        && asked.shorten(output)
    {
        return open(proxy, caller, asked.request.clone(), &Notes { first: false, ..*said }).await;
    }
    // A call that is too large says nothing of the budget; one that has no room for the smallest useful call is used up.
    let least = ModelRequest { prompt: Prompt::default(), ..asked.request.clone() };
    if room < ceiling_of(&least, OUTPUT_TOKENS_MIN, &view, &proxy.prices, now) {
        used_up(proxy, view.budgets.iter().find(|line| line.scope == denial.wanted)).await;
    }
    Err(OpenError::Short { denial, room })
}

/// A budget that has no room for the smallest useful call is used up, and the operator is told, once.
async fn used_up(proxy: &Proxy, line: Option<&BudgetLine>) {
    let Some(line) = line.filter(|line| proxy.told_used_up(line)) else { return };
    let noted = async {
        let (spent, _) = proxy.store.account(&line.scope, line.period).await?;
        // What only open calls hold comes back.
        if throttle(spent, line.limit) == Throttle::Near {
            let (limit, now) = (line.limit, proxy.clock.now());
            proxy.store.note_spending(&line.scope, line.period, limit, (spent, limit), now).await?;
        } else {
            proxy.forget_used_up(line);
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = noted.await {
        proxy.forget_used_up(line);
        tracing::error!(%error, scope = line.scope, "that a budget is used up could not be written down");
    }
}

impl Asked {
    /// Asks for at most so many output tokens. False where that changes nothing, or where the request's own rules forbid it: what it
    /// gives to thinking must be less than its answer.
    fn shorten(&mut self, output_tokens: u64) -> bool {
        let thinking = self.thinking_tokens.unwrap_or(0);
        if self.request.path != ModelPath::Messages || output_tokens >= self.request.max_tokens || thinking >= output_tokens {
            return false;
        }
        let Some(at) = self.max_tokens_at.clone() else { return false };
        let Some(bytes) = replaced(&self.request.body.0, at.clone(), output_tokens) else { return false };
        self.max_tokens_at = Some(at.start..at.start + output_tokens.to_string().len());
        self.request.max_tokens = output_tokens;
        self.request.body = RequestBody(bytes);
        true
    }
}

fn replaced(body: &Bytes, at: std::ops::Range<usize>, number: u64) -> Option<Bytes> {
    let (before, after) = (body.get(..at.start)?, body.get(at.end..)?);
    let number = number.to_string();
    let mut bytes = BytesMut::with_capacity(before.len() + number.len() + after.len());
    for part in [before, number.as_bytes(), after] {
        bytes.extend_from_slice(part);
    }
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::parse;
    use crate::messages::shape::Detail;

    fn asked(body: &str) -> Asked {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let (request, shape) = parse::request(ModelPath::Messages, &bytes, Detail::Facts).expect("a request");
        Asked::new(request, &shape, &http::HeaderMap::new(), bytes)
    }

    fn bytes(asked: &Asked) -> &[u8] {
        &asked.request.body.0
    }

    #[test]
    fn nothing_but_the_number_changes() {
        let body = r#" {"x":{"max_tokens":7} , "max_tokens" :  4000,"model":"m","messages":[{"role":"user","content":"max_tokens 4000"}]} "#;
        let mut call = asked(body);
        assert!(call.shorten(300));
        let expected = body.replace("  4000,", "  300,");
        assert_eq!((bytes(&call), call.request.max_tokens), (expected.as_bytes(), 300), "what is permitted is what leaves");
        let (read, _) = parse::request(ModelPath::Messages, bytes(&call), Detail::Facts).expect("still a request");
        assert_eq!(read.max_tokens, 300);
        assert!(call.shorten(7), "and once more");
        assert_eq!(bytes(&call), body.replace("  4000,", "  7,").as_bytes());
    }

    #[test]
    fn a_call_is_never_made_larger_or_against_its_own_rules() {
        let plain = r#"{"model":"m","max_tokens":1000,"messages":[]}"#;
        assert!(!asked(plain).shorten(1000) && !asked(plain).shorten(2000));
        let thinking = r#"{"model":"m","max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":2048},"messages":[]}"#;
        let mut call = asked(thinking);
        assert!(!call.shorten(2048) && bytes(&call) == thinking.as_bytes());
        assert!(call.shorten(2049));
    }
}
