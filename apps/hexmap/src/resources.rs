//! The same map as resources, for clients that read rather than call.

use crate::arguments::{Fields, LISTING_DEPTH_MAX};
use crate::map::{MapError, Maps, own_root};
use crate::people;
use crate::server::Caller;
use crate::tools;
use rmcp::model::{Resource, ResourceTemplate};
use serde_json::Value;

const MIME_TYPE: &str = "application/json";
const ITEMS: &str = "map://items";
const ITEM: &str = "map://item/";
const CURRENT_USER: &str = "map://current-user";
/// A part of the map as the page draws it.
const VIEW: &str = "map://view";

/// What there is to read.
#[must_use]
pub fn list() -> Vec<Resource> {
    [
        (ITEMS, "map", "The user's map as a tree"),
        (CURRENT_USER, "current-user", "The user the map belongs to"),
        (VIEW, "view", "As much of the map as a page can draw, without contents"),
    ]
    .into_iter()
    .map(|(uri, name, description)| Resource::new(uri, name).with_description(description).with_mime_type(MIME_TYPE))
    .collect()
}

/// What there is to read once an id is known.
#[must_use]
pub fn templates() -> Vec<ResourceTemplate> {
    [
        ("map://items/{rootId}", "subtree", "A tile, given by its id, with everything below it"),
        ("map://item/{itemId}", "tile", "One tile, given by its id"),
        ("map://view/{itemId}", "view-below", "As much below a tile as a page can draw, without contents"),
    ]
    .into_iter()
    .map(|(uri, name, description)| ResourceTemplate::new(uri, name).with_description(description).with_mime_type(MIME_TYPE))
    .collect()
}

/// Reads a resource; none when there is nothing by this name.
///
/// # Errors
/// As every tool.
pub async fn read(maps: &Maps, caller: &Caller, uri: &str) -> Option<Result<Value, MapError>> {
    if uri == CURRENT_USER {
        return Some(tools::current_user(maps, caller).await);
    }
    if let Some(rest) = uri.strip_prefix(VIEW) {
        return match rest.split_at_checked(1) {
            None => Some(view(maps, caller, None).await),
            Some(("/", id)) => Some(view(maps, caller, Some(id)).await),
            Some(_) => None,
        };
    }
    if let Some(id) = uri.strip_prefix(ITEM) {
        return Some(maps.tile_by_id(&caller.user, id).await.map(|tile| tools::item(&tile, &Fields::All)));
    }
    match uri.strip_prefix(ITEMS)?.split_at_checked(1) {
        None => Some(whole(maps, caller).await),
        Some(("/", id)) => Some(below(maps, caller, id).await),
        Some(_) => None,
    }
}

async fn view(maps: &Maps, caller: &Caller, id: Option<&str>) -> Result<Value, MapError> {
    let top = match id {
        Some(id) => maps.tile_by_id(&caller.user, id).await?.coord,
        None => own_root(&caller.user)?,
    };
    people::view(maps, &top).await
}

async fn whole(maps: &Maps, caller: &Caller) -> Result<Value, MapError> {
    tools::subtree(maps, &own_root(&caller.user)?, LISTING_DEPTH_MAX, &Fields::All).await
}

async fn below(maps: &Maps, caller: &Caller, id: &str) -> Result<Value, MapError> {
    let top = maps.tile_by_id(&caller.user, id).await?.coord;
    tools::subtree(maps, &top, LISTING_DEPTH_MAX, &Fields::All).await
}

/// A resource's content on the wire.
#[must_use]
pub fn contents(uri: &str, value: &Value) -> rmcp::model::ResourceContents {
    rmcp::model::ResourceContents::text(value.to_string(), uri).with_mime_type(MIME_TYPE)
}
