//! The tools: what each answers. All of them only read.

use crate::arguments::Arguments;
use crate::card::{Card, Colors, Face};
use crate::catalog::{ColorMatch, Filters};
use crate::deck::{self, Deck, DeckError, advice, analysis, legality, odds};
use crate::definitions::{self, FILTERS, KEYWORD_CHARS_MAX, NAME_CHARS_MAX, PAGE_MAX, QUERY_CHARS_MAX};
use crate::formats::{self, Format};
use crate::library::{Data, Kind, Library, SetRow};
use crate::notices;
use crate::rules::{Entry, EntryKind};
use crate::text::{clip, words};
use rmcp::model::JsonObject;
use serde_json::{Map, Value, json};

const CARDS_PER_PAGE: usize = 10;
const RULES_PER_PAGE: usize = 5;
const RULINGS_MAX: usize = 15;
const NEAR: usize = 5;
/// Characters of a card's text in a list, and of a rule.
const LISTED_CHARS_MAX: usize = 300;
const RULE_CHARS_MAX: usize = 2_000;
/// Characters of a ruling and of a text that is shown whole: what the gateway lets through holds several of them.
const RULING_CHARS_MAX: usize = 1_000;
const TEXT_CHARS_MAX: usize = 4_000;

/// Why a tool answered nothing: a sentence for the model.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The caller's: what to write instead.
    #[error("{0}")]
    Invalid(String),
    /// A deck list that is none.
    #[error(transparent)]
    Deck(#[from] DeckError),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// Ours: the data is being read, or the database failed.
    #[error("The cards are being read at the moment. Try again in a few seconds")]
    NotReady,
}

/// Runs a tool; none when there is no such tool.
pub async fn call(library: &Library, name: &str, arguments: JsonObject) -> Option<Result<Value, ToolError>> {
    let definition = definitions::all().iter().find(|definition| definition.name == name)?;
    let known: Vec<&str> = definition.properties.as_object()?.keys().map(String::as_str).collect();
    let given = match Arguments::new(arguments, &known) {
        Ok(given) => given,
        Err(error) => return Some(Err(error)),
    };
    let Some(data) = library.data().await else { return Some(Err(ToolError::NotReady)) };
    let now = library.now();
    // Counting through a hundred cards is short, but it is no waiting: other requests go on meanwhile.
    let run = tokio::task::spawn_blocking(move || match definition.name {
        "mtg_data_status" => Ok(status(&data, now)),
        name => run(&data, name, &given),
    });
    Some(run.await.unwrap_or(Err(ToolError::NotReady)))
}

fn run(data: &Data, name: &str, given: &Arguments) -> Result<Value, ToolError> {
    let deck = || Ok::<_, ToolError>(Deck::parse(given.needed("deck", deck::CHARS_MAX)?, &data.catalog)?);
    match name {
        "mtg_card_search" => search(data, given),
        "mtg_card_details" => details(data, given.needed("name", NAME_CHARS_MAX)?),
        "mtg_rules_lookup" => rules(data, given),
        "mtg_deck_parse" => Ok(parsed(&deck()?)),
        "mtg_deck_analyze" => {
            let deck = deck()?;
            Ok(noted(analysis::analyze(&deck), &deck))
        }
        "mtg_deck_legality" => {
            let (format, deck) = (wanted_format(given)?, deck()?);
            let told = match format {
                Some((at, format)) => legality::judge(&deck, &data.catalog, at, format),
                None => legality::judge_everywhere(&deck, &data.catalog),
            };
            Ok(noted(told, &deck))
        }
        "mtg_deck_advice" => {
            let format = wanted_format(given)?.map(|(at, _)| at);
            Ok(advice::inputs(&deck()?, &data.catalog, format))
        }
        "mtg_draw_odds" => draw_odds(given),
        _ => Err(ToolError::Invalid(format!("There is no tool {name}"))),
    }
}

/// What could not be read of a list goes along with everything that is said about it.
fn noted(mut told: Value, deck: &Deck<'_>) -> Value {
    if let Some(object) = told.as_object_mut() {
        for (key, lines) in [("problems_of_the_list", &deck.problems), ("notes", &deck.notes)] {
            if !lines.is_empty() {
                object.insert(key.to_owned(), json!(lines));
            }
        }
    }
    told
}

fn wanted_format(given: &Arguments) -> Result<Option<(u32, Format)>, ToolError> {
    let Some(name) = given.text("format", 30)? else { return Ok(None) };
    let unknown = || ToolError::Invalid(format!("There is no format {name:?}. Known are: {}", formats::names().join(", ")));
    formats::find(name).map(Some).ok_or_else(unknown)
}

fn wanted_colors(given: &Arguments, name: &str) -> Result<Option<Colors>, ToolError> {
    let words = given.words(name, 6)?;
    let wrong = |word: &str| ToolError::Invalid(format!("{name}: {word:?} is no colour. Use W, U, B, R, G, or C for colourless"));
    let mut all = words.iter().map(|word| Colors::of_word(word).ok_or_else(|| wrong(word)));
    let colors = all.try_fold(Colors::default(), |all, one| Ok::<_, ToolError>(all.with(one?)))?;
    Ok((!words.is_empty()).then_some(colors))
}

fn wanted_filters(given: &Arguments) -> Result<Filters, ToolError> {
    let given = given.group("filters", &FILTERS)?;
    let matching = match given.text("colorMatch", 20)? {
        None | Some("including") => ColorMatch::Including,
        Some("exactly") => ColorMatch::Exactly,
        Some("at_most") => ColorMatch::AtMost,
        Some(_) => return Err(ToolError::Invalid("colorMatch must be including, exactly or at_most".to_owned())),
    };
    let exact = given.mana("manaValue")?;
    Ok(Filters {
        colors: wanted_colors(&given, "colors")?.map(|colors| (colors, matching)),
        identity: wanted_colors(&given, "identity")?,
        types: given.text("type", 60)?.map(words).unwrap_or_default(),
        mana_value_min: exact.or(given.mana("manaValueMin")?),
        mana_value_max: exact.or(given.mana("manaValueMax")?),
        format: wanted_format(&given)?.map(|(at, _)| at),
        keyword: given.text("keyword", 40)?.map(str::to_owned),
    })
}

fn pages(given: &Arguments, per_page: usize) -> Result<(usize, usize), ToolError> {
    let page = usize::try_from(given.whole("page", 1, PAGE_MAX)?.unwrap_or(1)).unwrap_or(1);
    Ok((page, page.saturating_sub(1).saturating_mul(per_page)))
}

fn search(data: &Data, given: &Arguments) -> Result<Value, ToolError> {
    let query = given.text("query", QUERY_CHARS_MAX)?.unwrap_or_default();
    let filters = wanted_filters(given)?;
    let (page, skip) = pages(given, CARDS_PER_PAGE)?;
    if words(query).is_empty() && !query.is_empty() {
        return Err(ToolError::Invalid("The query holds no word. Write words of the name, type or rules text".to_owned()));
    }
    let found = data.catalog.search(query, &filters, skip, CARDS_PER_PAGE);
    // Under another key than cards, so that nobody takes them for what was found.
    let similar = if found.total == 0 && !query.is_empty() { data.catalog.near(query, NEAR) } else { Vec::new() };
    Ok(json!({
        "total": found.total, "page": page, "pages": found.total.div_ceil(CARDS_PER_PAGE),
        "cards": found.cards.into_iter().map(listed).collect::<Vec<_>>(), "similar_names": similar,
    }))
}

/// Empty fields say nothing.
fn without_empty(mut object: Map<String, Value>) -> Value {
    object.retain(|_, value| !matches!(value, Value::Null) && value != "" && value != &json!([]));
    Value::Object(object)
}

fn card_fields(card: &Card, chars_max: usize) -> Map<String, Value> {
    let face = |face: &Face| {
        let object = json!({
            "name": face.name, "manaCost": face.mana_cost, "typeLine": face.type_line, "text": clip(&face.text, chars_max), "stats": face.stats,
        });
        without_empty(object.as_object().cloned().unwrap_or_default())
    };
    let fields = json!({
        "name": card.name, "manaCost": card.mana_cost, "manaValue": card.mana_value, "colors": card.colors.letters(),
        "typeLine": card.type_line, "text": clip(&card.text, chars_max), "stats": card.stats,
        "faces": card.faces.iter().map(face).collect::<Vec<_>>(),
    });
    fields.as_object().cloned().unwrap_or_default()
}

fn listed(card: &Card) -> Value {
    without_empty(card_fields(card, LISTED_CHARS_MAX))
}

fn details(data: &Data, name: &str) -> Result<Value, ToolError> {
    let Some(card) = data.catalog.find(name) else {
        let near = data.catalog.near(name, NEAR);
        let meant = if near.is_empty() {
            "Search for it with mtg_card_search".to_owned()
        } else {
            format!("Did you mean: {}?", near.join("; "))
        };
        return Err(ToolError::NotFound(format!("No card is called {:?}. {meant}", clip(name, 80))));
    };
    let mut fields = card_fields(card, TEXT_CHARS_MAX);
    let legalities: Map<String, Value> = (0_u32..)
        .zip(formats::FORMATS)
        .map(|(at, format)| (format.name.to_owned(), json!(card.legalities.in_format(at).word())))
        .filter(|(_, word)| word != "not_legal")
        .collect();
    let rulings: Vec<Value> = card
        .rulings
        .iter()
        .take(RULINGS_MAX)
        .map(|ruling| json!({"date": ruling.date, "text": clip(&ruling.text, RULING_CHARS_MAX)}))
        .collect();
    fields.insert("colorIdentity".to_owned(), json!(card.identity.letters()));
    fields.insert("keywords".to_owned(), json!(card.keywords));
    fields.insert("layout".to_owned(), json!(card.layout));
    fields.insert("rulings".to_owned(), json!(rulings));
    if card.rulings.len() > RULINGS_MAX {
        fields.insert("furtherRulings".to_owned(), json!(card.rulings.len() - RULINGS_MAX));
    }
    fields.insert("legalities".to_owned(), json!({"legal_or_not_in": legalities, "everywhere_else": "not_legal"}));
    Ok(without_empty(fields))
}

fn rules(data: &Data, given: &Arguments) -> Result<Value, ToolError> {
    let (page, skip) = pages(given, RULES_PER_PAGE)?;
    let (what, found) = match (given.text("ruleNumber", 12)?, given.text("keyword", KEYWORD_CHARS_MAX)?) {
        (Some(number), None) => (format!("numbered {number:?}"), data.rules.numbered(number)),
        (None, Some(keyword)) => (format!("about {keyword:?}"), data.rules.about(keyword)),
        (Some(_), Some(_)) | (None, None) => {
            return Err(ToolError::Invalid("Give either ruleNumber or keyword".to_owned()));
        }
    };
    if found.is_empty() {
        return Err(ToolError::NotFound(format!("There is no rule {what}. Try another number or fewer words")));
    }
    let total = found.len();
    let shown = found.into_iter().skip(skip).take(RULES_PER_PAGE).map(rule).collect::<Vec<_>>();
    Ok(json!({
        "effective": data.rules.effective, "invented": data.set(Kind::Rules).is_none(),
        "total": total, "page": page, "pages": total.div_ceil(RULES_PER_PAGE), "rules": shown,
    }))
}

fn rule(entry: &Entry) -> Value {
    let key = match entry.kind {
        EntryKind::Rule => "rule",
        EntryKind::Title => "chapter",
        EntryKind::Term => "term",
    };
    json!({key: entry.key, "text": clip(&entry.text, RULE_CHARS_MAX)})
}

fn parsed(deck: &Deck<'_>) -> Value {
    let sections =
        [deck::Section::Commander, deck::Section::Main, deck::Section::Sideboard, deck::Section::Companion, deck::Section::Maybe];
    let of = |section: deck::Section| {
        let entries = deck.entries.iter().filter(move |entry| entry.section == section);
        let lines: Vec<String> = entries
            .map(|entry| match entry.card {
                Some(card) => format!("{} {}", entry.count, card.name),
                None => format!("{} {} (unknown)", entry.count, clip(&entry.name, 60)),
            })
            .collect();
        json!({"section": section.word(), "cards": deck.count(section), "lines": lines})
    };
    let sections: Vec<Value> = sections.into_iter().filter(|section| deck.count(*section) > 0).map(of).collect();
    json!({"name": deck.name, "sections": sections, "problems": deck.problems, "notes": deck.notes})
}

fn draw_odds(given: &Arguments) -> Result<Value, ToolError> {
    let whole = |name: &str, least: u32, default: Option<u32>| {
        let missing = || ToolError::Invalid(format!("{name} is missing"));
        given.whole(name, least, 1000)?.or(default).ok_or_else(missing)
    };
    let (cards, copies) = (whole("deckSize", 1, Some(60))?, whole("copies", 0, None)?);
    let (draws, wanted) = (whole("draws", 1, Some(7))?, whole("atLeast", 0, Some(1))?);
    if copies > cards || draws > cards {
        return Err(ToolError::Invalid(format!(
            "A deck of {cards} cards has neither {copies} copies nor {draws} draws: one of them is too large"
        )));
    }
    Ok(json!({
        "deckSize": cards, "copies": copies, "draws": draws, "atLeast": wanted,
        "percent": odds::percent(odds::at_least(cards, copies, draws, wanted)),
        "exactly_percent": odds::percent(odds::exactly(cards, copies, draws, wanted)),
    }))
}

fn status(data: &Data, now: policy::Timestamp) -> Value {
    let set = |set: &SetRow| {
        json!({
            "kind": set.kind.word(), "source": set.format, "count": set.items, "as_of": set.as_of, "age_days": set.age_days(now),
        })
    };
    let imported: Vec<Value> = data.sets.iter().map(set).collect();
    json!({
        "cards": data.catalog.len(), "rules": data.rules.len(), "rules_effective": data.rules.effective,
        "formats": data.catalog.formats().map(|(_, format)| format.name).collect::<Vec<_>>(),
        "imported": imported, "cards_are_invented": data.set(Kind::Cards).is_none(), "rules_are_invented": data.set(Kind::Rules).is_none(),
        "notices": notices(data),
    })
}

/// Whose the material is.
#[must_use]
pub fn notices(data: &Data) -> Vec<&'static str> {
    let mut notices = vec![notices::FAN_CONTENT];
    if data.set(Kind::Cards).is_none() || data.set(Kind::Rules).is_none() {
        notices.push(notices::INVENTED);
    }
    for (begin, notice) in [("scryfall", notices::SCRYFALL), ("mtgjson", notices::MTGJSON)] {
        if data.sets.iter().any(|set| set.format.starts_with(begin)) {
            notices.push(notice);
        }
    }
    notices
}
