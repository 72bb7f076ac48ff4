//! Whether the arguments of a call fit what its tool says of them, before anybody decides more, is asked or is called. What does not fit
//! is a result that the model can correct, and no end of anything.

use crate::definitions::Schema;
use policy::{Denial, DenialCode};
use serde_json::{Map, Value, json};

/// Why a call is not made.
pub(crate) enum Unfit {
    /// What its tool says of arguments can't be used.
    Unusable(Denial),
    /// They do not fit.
    Misfit(Misfit),
}

/// What is told of arguments that do not fit.
pub(crate) struct Misfit {
    /// For the record.
    pub(crate) denial: Denial,
    /// For people.
    pub(crate) text: String,
    /// For whoever called.
    pub(crate) result: Value,
}

/// Compares them. `arguments` is an object.
pub(crate) fn check(schema: &Schema, tool: &str, arguments: &Map<String, Value>) -> Result<(), Unfit> {
    let schema = schema.as_ref().as_ref().map_err(|_| Unfit::Unusable(Denial::new(DenialCode::ToolSchema, tool)))?;
    schema.check(&Value::Object(arguments.clone())).map_err(|misfit| {
        let (code, text) = (DenialCode::ToolInput, misfit.text(tool));
        let content = json!([{"type": "text", "text": text}]);
        let result = json!({"content": content, "isError": true, "_meta": {"hexward/reason": code.as_str()}});
        Unfit::Misfit(Misfit { denial: Denial::new(code, tool), text, result })
    })
}
