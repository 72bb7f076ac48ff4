//! The six neighbours of a hexagon, by the words people use for them.

use super::words::Word;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    NorthWest = 1,
    NorthEast = 2,
    East = 3,
    SouthEast = 4,
    SouthWest = 5,
    West = 6,
}

impl Direction {
    pub const ALL: [Self; 6] = [Self::NorthWest, Self::NorthEast, Self::East, Self::SouthEast, Self::SouthWest, Self::West];

    pub fn number(self) -> i64 {
        match self {
            Self::NorthWest => 1,
            Self::NorthEast => 2,
            Self::East => 3,
            Self::SouthEast => 4,
            Self::SouthWest => 5,
            Self::West => 6,
        }
    }

    pub fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.number() == number)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::NorthWest => "north-west",
            Self::NorthEast => "north-east",
            Self::East => "east",
            Self::SouthEast => "south-east",
            Self::SouthWest => "south-west",
            Self::West => "west",
        }
    }
}

/// The direction that begins a list of words, and how many words it takes. A plain north is the north-west, a plain
/// south the south-east: a hexagon with a point on top has neither.
pub fn direction_at(words: &[Word]) -> Option<(Direction, usize)> {
    let first = words.first().filter(|word| !word.quoted)?;
    let second = words.get(1).filter(|word| !word.quoted && first.ends.is_none()).map(|word| word.low.as_str());
    let compact: String = first.low.chars().filter(|letter| letter.is_ascii_alphabetic()).collect();
    let two = |direction| Some((direction, 2));
    match (compact.as_str(), second) {
        ("north" | "top" | "upper", Some("west" | "left")) => two(Direction::NorthWest),
        ("north" | "top" | "upper", Some("east" | "right")) => two(Direction::NorthEast),
        ("south" | "bottom" | "lower", Some("east" | "right")) => two(Direction::SouthEast),
        ("south" | "bottom" | "lower", Some("west" | "left")) => two(Direction::SouthWest),
        (word, _) => Some((single(word)?, 1)),
    }
}

fn single(word: &str) -> Option<Direction> {
    match word {
        "northwest" | "nw" | "north" | "upperleft" | "topleft" => Some(Direction::NorthWest),
        "northeast" | "ne" | "upperright" | "topright" => Some(Direction::NorthEast),
        "east" | "right" => Some(Direction::East),
        "southeast" | "se" | "south" | "lowerright" | "bottomright" => Some(Direction::SouthEast),
        "southwest" | "sw" | "lowerleft" | "bottomleft" => Some(Direction::SouthWest),
        "west" | "left" => Some(Direction::West),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::understand::words::words;

    #[test]
    fn directions_are_read_in_every_spelling() {
        let table = [
            ("north-east", Direction::NorthEast, 1),
            ("Northeast of", Direction::NorthEast, 1),
            ("north east of", Direction::NorthEast, 2),
            ("NE", Direction::NorthEast, 1),
            ("South-East.", Direction::SouthEast, 1),
            ("SW", Direction::SouthWest, 1),
            ("west of Home", Direction::West, 1),
            ("north of Home", Direction::NorthWest, 1),
            ("south", Direction::SouthEast, 1),
            ("top left", Direction::NorthWest, 2),
        ];
        for (text, direction, taken) in table {
            assert_eq!(direction_at(&words(text)), Some((direction, taken)), "{text}");
        }
        assert_eq!(direction_at(&words("\"east\"")), None);
        assert_eq!(direction_at(&words("easter")), None);
    }
}
