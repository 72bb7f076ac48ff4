//! What a server has beside tools: resources, prompts, and what an argument may be.

use super::asked::Asked;
use super::back::{Back, asks};
use super::failure::UpstreamError;
use super::sentinel;
use super::upstream::{McpUpstream, UserRef};
use serde_json::{Map, Value, json};

impl McpUpstream {
    /// The server's resources.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn resources(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        Ok(self.list(user, "resources/list", "resources").await?.into_iter().map(Value::Object).collect())
    }

    /// The server's resource templates.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn resource_templates(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        Ok(self.list(user, "resources/templates/list", "resourceTemplates").await?.into_iter().map(Value::Object).collect())
    }

    /// Reads a resource; the value is a `ReadResourceResult`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn read_resource(&self, user: &UserRef, uri: &str) -> Result<Value, UpstreamError> {
        let params = Map::from_iter([("uri".to_owned(), json!(uri))]);
        let headers = vec![("mcp-name".to_owned(), sentinel::encode(uri))];
        let read = self.request(user, Asked { method: "resources/read", params, headers, notices: None, back: None }).await?;
        if read.get("contents").is_some_and(Value::is_array) {
            return Ok(Value::Object(read));
        }
        Err(UpstreamError::Protocol("a resource without contents".to_owned()))
    }

    /// The server's prompts.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn prompts(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        Ok(self.list(user, "prompts/list", "prompts").await?.into_iter().map(Value::Object).collect())
    }

    /// Fills in a prompt; the value is a `GetPromptResult`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub(crate) async fn prompt(
        &self,
        user: &UserRef,
        name: &str,
        arguments: Map<String, Value>,
        back: &Back,
    ) -> Result<Value, UpstreamError> {
        let params = Map::from_iter([("name".to_owned(), json!(name)), ("arguments".to_owned(), Value::Object(arguments))]);
        let headers = vec![("mcp-name".to_owned(), sentinel::encode(name))];
        let filled =
            self.request(user, Asked { method: "prompts/get", params, headers, notices: None, back: Some(back) }).await?;
        if asks(&filled) || filled.get("messages").is_some_and(Value::is_array) {
            return Ok(Value::Object(filled));
        }
        Err(UpstreamError::Protocol("a prompt without messages".to_owned()))
    }

    /// Completes an argument; the value is a `CompleteResult`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn complete(&self, user: &UserRef, params: Map<String, Value>) -> Result<Value, UpstreamError> {
        let completed = self.request(user, Asked::plain("completion/complete", params)).await?;
        if completed.get("completion").is_some_and(Value::is_object) {
            return Ok(Value::Object(completed));
        }
        Err(UpstreamError::Protocol("a completion without values".to_owned()))
    }
}
