//! What must be said about whose the material is. A tool shows it, the prompt says it, and no answer is worth more than that.

/// For material of Wizards of the Coast, in the words that their Fan Content Policy asks for.
pub const FAN_CONTENT: &str = "Hexward's Magic assistant is unofficial Fan Content permitted under the Fan Content Policy. Not \
     approved/endorsed by Wizards. Portions of the materials used are property of Wizards of the Coast. ©Wizards of the Coast LLC.";
/// For data of Scryfall.
pub const SCRYFALL: &str =
    "Card data and rulings come from Scryfall (scryfall.com), which neither produced nor endorses this assistant.";
/// For data of MTGJSON.
pub const MTGJSON: &str = "Card data comes from MTGJSON (mtgjson.com), which neither produced nor endorses this assistant.";
/// For what comes with the gateway.
pub const INVENTED: &str = "These cards and this digest of rules were invented for demonstration. They are no cards of the real game; the operator \
     imports real data with `hexward cards import`.";
