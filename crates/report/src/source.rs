//! From a report's characters to lines of plain text: Markdown, HTML and
//! nothing at all look the same afterwards.
//!
//! It is no parser of either language: marks that carry structure (headings,
//! items, cells, bold lines) are noted, addresses and pictures are left out,
//! everything else is text.
//!
//! Invariant: every byte of a line knows the line and column it came from.

use crate::place::{Place, Text};

/// Looking for the end of a link or tag stops here, so that a file of opening
/// brackets costs no more than its length; a longer one is taken as text.
const LOOK_AHEAD: usize = 2_000;

/// One line of text, and what its marks said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) text: Text,
    pub(crate) mark: Mark,
    /// Columns of blanks before it.
    pub(crate) indent: usize,
    /// Within a block of code.
    pub(crate) fenced: bool,
    /// All of it was bold.
    pub(crate) bold: bool,
    /// It came from a table: cells are separated by a vertical bar.
    pub(crate) cells: bool,
    /// The number of the line that it began in.
    pub(crate) number: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mark {
    #[default]
    None,
    Heading(u8),
    Item,
    /// A line of dashes or equals signs.
    Rule,
}

/// Reads all lines; empty ones too, they separate.
pub(crate) fn read(text: &str) -> Vec<Line> {
    let mut reader = Reader::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A lone carriage return ends a line too; the pair ends one.
    let text = text.replace("\r\n", "\n");
    for line in text.split(['\n', '\r']) {
        reader.number = reader.number.saturating_add(1);
        reader.line(line);
    }
    reader.end();
    reader.lines
}

#[derive(Debug, Default)]
struct Reader {
    lines: Vec<Line>,
    now: Line,
    number: u32,
    fence: bool,
    comment: bool,
    /// Within a row of an HTML table, where ends of lines mean nothing.
    row: bool,
    /// The index that the last numbered item had.
    index: u32,
}

impl Reader {
    fn end(&mut self) {
        self.row = false;
        self.cut();
    }

    /// Ends the line, and keeps it.
    fn cut(&mut self) {
        let mut line = std::mem::take(&mut self.now);
        line.fenced = self.fence;
        if line.number == 0 {
            line.number = self.number;
        }
        self.lines.push(line);
    }

    fn line(&mut self, line: &str) {
        let chars: Vec<char> = line.chars().collect();
        let trimmed = line.trim();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            self.fence = !self.fence;
            self.cut();
            return;
        }
        let mut at = 0;
        if !self.row {
            at = self.lead(&chars);
        } else {
            self.put(' ', 0);
        }
        if self.now.mark == Mark::Rule {
            self.cut();
            return;
        }
        self.now.bold |= is_bold(trimmed);
        self.inline(&chars, at);
        if !self.row {
            self.cut();
        }
    }

    /// Takes the marks before a line's text, and says where that begins.
    fn lead(&mut self, chars: &[char]) -> usize {
        self.now.number = self.number;
        let mut at = blanks(chars, 0);
        self.now.indent = chars[..at]
            .iter()
            .map(|c| if *c == '\t' { 4 } else { 1 })
            .sum();
        let quote = at;
        while chars.get(at) == Some(&'>') {
            at = blanks(chars, at + 1);
        }
        // Two of them, without a blank, are somebody's heading.
        if chars[quote..at].starts_with(&['>', '>']) {
            self.now.mark = Mark::Heading(3);
        }
        if is_rule(&chars[at..]) {
            self.now.mark = Mark::Rule;
            return chars.len();
        }
        let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
        if (1..=6).contains(&hashes) {
            self.now.mark = Mark::Heading(u8::try_from(hashes).unwrap_or(6));
            return blanks(chars, at + hashes);
        }
        at = self.bullet(chars, at);
        if self.now.mark == Mark::Item
            && chars.get(at) == Some(&'[')
            && chars.get(at + 2) == Some(&']')
            && chars.get(at + 1).is_some_and(|c| " xX".contains(*c))
        {
            at = blanks(chars, at + 3);
        }
        at
    }

    fn bullet(&mut self, chars: &[char], at: usize) -> usize {
        let next = chars.get(at + 1);
        if chars.get(at).is_some_and(|c| "-*+•–·‣".contains(*c))
            && next.is_none_or(|c| c.is_whitespace())
        {
            self.now.mark = Mark::Item;
            return blanks(chars, at + 1);
        }
        let digits = chars[at..]
            .iter()
            .take(4)
            .take_while(|c| c.is_ascii_digit())
            .count();
        let number: String = chars[at..at + digits].iter().collect();
        let after = at + digits;
        let Ok(index) = number.parse::<u32>() else {
            return at;
        };
        let blank = chars.get(after + 1).is_none_or(|c| c.is_whitespace());
        let numbered = matches!(chars.get(after), Some('.' | ')')) && blank;
        // `1 - 11:49`: a number only if it is the next; it might be an hour.
        let dash = blanks(chars, after);
        let dashed = matches!(chars.get(dash), Some('-' | '–'))
            && dash > after
            && (index == 1 || index == self.index.saturating_add(1))
            && chars.get(dash + 1).is_some_and(|c| c.is_whitespace());
        if digits <= 3 && (numbered || dashed) {
            self.index = index;
            self.now.mark = Mark::Item;
            return blanks(chars, if numbered { after + 1 } else { dash + 1 });
        }
        at
    }

    fn put(&mut self, c: char, at: usize) {
        let column = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
        let place = Place {
            line: self.number,
            column,
        };
        if self.now.text.len() == 0 {
            if c == ' ' {
                return;
            }
            self.now.number = self.number;
        }
        self.now.text.push(c, place);
    }

    fn inline(&mut self, chars: &[char], from: usize) {
        let mut at = from;
        while at < chars.len() {
            at = if self.comment {
                match find(chars, at, "-->", chars.len()) {
                    Some(end) => {
                        self.comment = false;
                        end + 3
                    }
                    None => chars.len(),
                }
            } else {
                self.one(chars, at)
            };
        }
    }

    /// Takes what begins at one character, and says what comes next.
    fn one(&mut self, chars: &[char], at: usize) -> usize {
        let c = chars[at];
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        match c {
            '<' if starts(chars, at, "<!--") => {
                self.comment = true;
                at + 4
            }
            '<' => self.tag(chars, at),
            '&' => self.entity(chars, at),
            'h' | 'H' | 'w' | 'W' | 'f' if is_address(chars, at, before) => {
                self.put(' ', at);
                end_of_address(chars, at)
            }
            '!' if chars.get(at + 1) == Some(&'[') => match link(chars, at + 1) {
                Some((_, after)) => after,
                None => at + 1,
            },
            '[' => match link(chars, at) {
                Some((close, after)) => {
                    self.inline(&chars[..close], at + 1);
                    after
                }
                None => {
                    self.put(c, at);
                    at + 1
                }
            },
            '`' | '*' => at + 1,
            '~' if chars.get(at + 1) == Some(&'~') => at + 2,
            '_' if !(is_word(before) && is_word(chars.get(at + 1))) => at + 1,
            '\\' if chars.get(at + 1).is_some_and(char::is_ascii_punctuation) => at + 1,
            '|' => {
                self.now.cells = true;
                self.put('|', at);
                at + 1
            }
            '\t' => {
                // A tab between words separates cells; at the front it indents.
                let cell = self.now.text.len() > 0;
                self.now.cells |= cell;
                self.put(if cell { '|' } else { ' ' }, at);
                at + 1
            }
            _ => {
                if let Some(plain) = plain(c) {
                    self.put(plain, at);
                }
                at + 1
            }
        }
    }

    fn entity(&mut self, chars: &[char], at: usize) -> usize {
        let end = find(chars, at, ";", 10);
        let name: String = chars[at + 1..end.unwrap_or(at + 1)].iter().collect();
        match (entity(&name), end) {
            (Some(c), Some(end)) => {
                if let Some(plain) = plain(c) {
                    self.put(plain, at);
                }
                end + 1
            }
            _ => {
                self.put('&', at);
                at + 1
            }
        }
    }

    fn tag(&mut self, chars: &[char], at: usize) -> usize {
        let closing = chars.get(at + 1) == Some(&'/');
        let from = at + 1 + usize::from(closing);
        let letters = chars[from.min(chars.len())..]
            .iter()
            .take(12)
            .take_while(|c| c.is_ascii_alphanumeric());
        let name = letters.collect::<String>().to_ascii_lowercase();
        let known = TAGS.split(' ').any(|tag| tag == name);
        let end = known.then(|| until(chars, at + 1, '>', "<")).flatten();
        let Some(end) = end else {
            self.put('<', at);
            return at + 1;
        };
        self.effect(&name, closing, at);
        end + 1
    }

    /// What a tag means for the lines.
    fn effect(&mut self, name: &str, closing: bool, at: usize) {
        match name {
            "td" | "th" if !closing => {
                self.now.cells = true;
                self.put('|', at);
            }
            "tr" => {
                self.cut();
                self.row = !closing;
            }
            "table" if closing => {
                self.row = false;
                self.cut();
            }
            "br" | "p" | "div" if self.row => self.put(' ', at),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.cut();
                if !closing {
                    let level = name.as_bytes().get(1).map_or(1, |digit| digit - b'0');
                    self.now.mark = Mark::Heading(level);
                }
            }
            "li" | "dt" | "dd" => {
                self.cut();
                if !closing {
                    self.now.mark = Mark::Item;
                }
            }
            "br" | "p" | "div" | "ul" | "ol" | "table" | "blockquote" | "section" | "hr"
            | "pre" => {
                self.cut();
            }
            "b" | "strong" if !closing && self.now.text.is_blank() => self.now.bold = true,
            _ => {}
        }
    }
}

/// What is taken for a tag; anything else between angle brackets is text.
const TAGS: &str = "a abbr b blockquote body br center code dd del details div dl dt em font footer h1 \
    h2 h3 h4 h5 h6 head header hr html i iframe img ins kbd li link main mark meta ol p \
    pre s section small span strong sub summary sup table tbody td tfoot th thead tr tt \
    u ul video";

fn blanks(chars: &[char], from: usize) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|c| c.is_whitespace()).count()
}

fn is_word(c: Option<&char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric())
}

fn starts(chars: &[char], at: usize, word: &str) -> bool {
    let rest = chars.get(at..).unwrap_or_default();
    let mut rest = rest.iter();
    word.chars()
        .all(|want| rest.next().is_some_and(|c| c.eq_ignore_ascii_case(&want)))
}

fn find(chars: &[char], from: usize, word: &str, within: usize) -> Option<usize> {
    let end = chars.len().min(from.saturating_add(within));
    (from..end).find(|at| starts(chars, *at, word))
}

/// The first such character, unless another one comes before it.
fn until(chars: &[char], from: usize, end: char, not: &str) -> Option<usize> {
    let rest = chars.get(from..)?.iter().take(LOOK_AHEAD);
    let (at, found) = rest
        .enumerate()
        .find(|(_, c)| **c == end || not.contains(**c))?;
    (*found == end).then_some(from + at)
}

fn is_rule(rest: &[char]) -> bool {
    let marks: Vec<&char> = rest.iter().filter(|c| !c.is_whitespace()).collect();
    marks.len() >= 3 && "-=*_".contains(*marks[0]) && marks.iter().all(|c| *c == marks[0])
}

/// The whole line stands between marks of bold text.
fn is_bold(line: &str) -> bool {
    ["**", "__", "*"].iter().any(|mark| {
        let inner = line.strip_prefix(mark);
        let inner = inner.and_then(|it| it.trim_end_matches(':').strip_suffix(mark));
        inner.is_some_and(|inner| !inner.is_empty() && !inner.contains(mark))
    })
}

fn is_address(chars: &[char], at: usize, before: Option<&char>) -> bool {
    !is_word(before)
        && ["http://", "https://", "ftp://", "www."]
            .iter()
            .any(|scheme| starts(chars, at, scheme))
}

fn end_of_address(chars: &[char], from: usize) -> usize {
    let rest = &chars[from..];
    let length = rest
        .iter()
        .take_while(|c| !c.is_whitespace() && !"<>\"')]|`".contains(**c))
        .count();
    from + length
}

/// Of `[text](address)`: where the text ends, and what comes after all of it.
fn link(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let close = until(chars, at + 1, ']', "[")?;
    if chars.get(close + 1) != Some(&'(') {
        return None;
    }
    let end = until(chars, close + 2, ')', "[")?;
    Some((close, end + 1))
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" | "rsquo" | "lsquo" => '\'',
        "nbsp" => ' ',
        "ndash" | "mdash" | "minus" => '-',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

/// One form for marks that people and their programs write in several.
fn plain(c: char) -> Option<char> {
    Some(match c {
        '–' | '—' | '−' | '‐' | '‑' | '→' | '⟶' => '-',
        '’' | '‘' => '\'',
        '“' | '”' => '"',
        '：' => ':',
        '\u{200b}' | '\u{200d}' | '\u{feff}' | '\u{ad}' => return None,
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    })
}
