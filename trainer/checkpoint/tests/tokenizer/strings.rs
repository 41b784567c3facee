//! Random strings of the kinds that tokenizers disagree about.

use std::collections::BTreeSet;

use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::canonical_combining_class;

/// Words of many scripts: letters with accents, marks in and out of order, no spaces, no case.
const TEXTS: &str = "\
The quick brown fox can't jump over 1,250 lazy dogs—naïve façade, co-operate, e.g. U.S.A. $7.50 (50%)!
L'été, Noël à l'Œuvre: «où ça?» Straße, Übergröße, ẞ ŉ ǰ ﬁn ﬀ Łódź, Kraków, żółć, Příliš žluťoučký kůň
İstanbul'da ılık IĞDIR Iǆ ǅ Ǆ ŐŰ Việt Nam Tiếng Việt được Hạ Long Vie\u{302}\u{323}t Vie\u{323}\u{302}t S\u{323}\u{307} ṩ
Ὀδυσσεύς ἄνδρα μοι ἔννεπε ΜΟΥΣΑ Σίσυφος ᾳ ᾼ ῼ ΐ Всеобщая декларация прав человека Ёжик Йод Їжак ЂЋ
בְּרֵאשִׁית בָּרָא אֱלֹהִים שּׁ שּׂ לְפָנָי السَّلَامُ عَلَيْكُمْ ٱلْعَرَبِيَّةُ ﷺ لا ـــ ۱۲۳
सभी मनुष्यों क़लम क\u{93C}लम ড়াঙা মানুষ ড\u{9BC} ਸਾਰੇ ઇન્સાન தமிழ் மொழி తెలుగు ಕನ್ನಡ ಕೋ മലയാളം සිංහල ෝ
มนุษย์ทั้งหลาย ກຳ ພາສາລາວ བོད་སྐད ཀྵ གྷ ྲྀ མ\u{F71}\u{F72} မြန်မာ ភាសាខ្មែរ ქართული Ქ Ⴀ հայերեն և ՈՒ አማርኛ
모든 인간은 태어날 때부터 각 힣 \u{1112}\u{1161}\u{11AB}\u{1100}\u{1161}\u{11A8} ㄱㅏ ｱﾞ が か\u{3099} ぱ は\u{309A} ヴ カタカナ ひらがな
人人生而自由 電腦 豈更車 侮 \u{2F800}\u{2F81A} 𠀀𪚥 㐀 ，。！？「」 ①② ㍿ ㎏ Ａｂｃ １２３ 〱 々 〇
Ꭰ ꭰ Ꮳ Ი Ɥ Ⱥ ȿ 𐐀𐐨 𞤀𞤢 𝔘𝓷𝖎 𝟙 ᾯ ℵ Ω Å K ≠ ≮ ∉ ⫝̸ ½ ² ™ № … – — ‘’ “” ‹› · ； ` ΅ ´ ¨ ~
👩‍👩‍👧‍👦 🇩🇪 ❤️ 🏳️‍🌈 👍🏽 1️⃣ é e\u{301} q\u{307}\u{323} q\u{323}\u{307} \u{344} \u{F73} \u{F75} \u{F81} \u{340}\u{341}\u{343} \u{345}
\u{1D15E}\u{1D15F}\u{1D160} \u{1D157}\u{1D165} \u{1D1BB}\u{1D1BF} ᄀ\u{302E}\u{302F} \u{16FF0}\u{16FF1} a\u{1DFA}b\u{1DF9} x\u{1E2EC}\u{1E4EC} \u{1D16D}\u{1D172}
user@example.com http://a.b/c?d=e#f snake_case CamelCase ##ing # ## a##b [CLS] [SEP] [PAD] [UNK] [MASK] [mask] [MASK [[MASK]]";

/// What stands between words, and what is no space though it looks like one.
const GAPS: [&str; 16] = [
    " ", "  ", "\t", "\n", "\r\n", "\u{A0}", "\u{2003}", "\u{3000}", "\u{2028}", "\u{85}", "\u{B}",
    "\u{C}", "\u{200B}", "\u{FEFF}", "\0", "\u{FFFD}",
];

const SPECIALS: [&str; 10] = [
    "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "[MASK", "MASK]", "[", "[[CLS]]", "[mask]",
];

/// A small generator of random numbers: SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// An endless source of strings.
pub struct Strings {
    random: Random,
    words: Vec<String>,
    texts: Vec<Vec<char>>,
    marks: Vec<char>,
    /// Marks that aren't accents: stripping leaves them where they were ordered to.
    stubborn: Vec<char>,
    decomposing: Vec<char>,
}

impl Strings {
    pub fn new(vocabulary: &str, seed: u64) -> Strings {
        let marks: Vec<char> = ('\0'..=char::MAX)
            .filter(|&c| canonical_combining_class(c) > 0)
            .collect();
        let decomposes = |c: &char| !c.to_string().nfd().map(|(part, _)| part).eq([*c]);
        Strings {
            random: Random(seed),
            words: vocabulary
                .lines()
                .map(|line| line.trim_start_matches("##").to_owned())
                .collect(),
            texts: TEXTS.lines().map(|line| line.chars().collect()).collect(),
            stubborn: stubborn_marks(),
            marks,
            decomposing: ('\0'..='\u{ABFF}')
                .chain('\u{D7A4}'..=char::MAX)
                .filter(decomposes)
                .collect(),
        }
    }

    pub fn next(&mut self) -> String {
        let mut text = String::new();
        if self.random.below(3) == 0 {
            self.push_mutated(&mut text);
        }
        for _ in 0..self.random.below(16) {
            self.push_part(&mut text);
        }
        text
    }

    fn push_part(&mut self, text: &mut String) {
        let random = &mut self.random;
        match random.below(24) {
            0..=5 => text.push_str(&self.words[random.below(self.words.len())]),
            6..=8 => text.push(' '),
            9 => text.push_str(random.pick(&GAPS)),
            10 => text.push_str(random.pick(&SPECIALS)),
            11 => text.extend(
                self.words[random.below(self.words.len())]
                    .chars()
                    .flat_map(char::to_uppercase),
            ),
            12 => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
            13 => text.extend(char::from_u32(random.below(0x3000) as u32)),
            14 => text.push((0x20 + random.below(0x5F) as u8) as char),
            15 => text.extend(char::from_u32(0xAC00 + random.below(11_172) as u32)),
            16 => text.extend(char::from_u32(0x4E00 + random.below(0x5200) as u32)),
            17 => text.push(random.pick(&self.decomposing)),
            18 => self.push_run(text),
            19 if random.below(20) == 0 => self.push_long_word(text),
            _ => {
                let line = &self.texts[random.below(self.texts.len())];
                let start = random.below(line.len());
                text.extend(line[start..].iter().take(random.below(9)));
            }
        }
    }

    /// Marks in any order, with things between them that may or may not end the run.
    fn push_run(&mut self, text: &mut String) {
        let random = &mut self.random;
        for _ in 0..1 + random.below(8) {
            match random.below(10) {
                0..=3 => text.push(random.pick(&self.marks)),
                4..=6 => text.push(random.pick(&self.stubborn)),
                7 => text.push(random.pick(&[
                    '\u{1D15E}',
                    '\u{1D160}',
                    '\u{1D1BF}',
                    'é',
                    'ṩ',
                    '\u{344}',
                    '\u{F73}',
                ])),
                8 => text.push(
                    random.pick(&['\u{34F}', '\u{E31}', '\u{200D}', '\0', '\u{AD}', '\u{1160}']),
                ),
                _ => text.push(random.pick(&['a', '!', '水', ' '])),
            }
        }
    }

    /// About as many characters as a word may have.
    fn push_long_word(&mut self, text: &mut String) {
        let letter = self.random.pick(&[
            'a',
            'É',
            'ß',
            'ж',
            '각',
            '\u{1D165}',
            '\u{1D160}',
            'i',
            '\u{130}',
        ]);
        let length = match letter {
            '각' | '\u{1D160}' => 30 + self.random.below(8),
            _ => 94 + self.random.below(12),
        };
        text.extend(std::iter::repeat_n(letter, length));
    }

    /// A line of real text, changed here and there.
    fn push_mutated(&mut self, text: &mut String) {
        let random = &mut self.random;
        let mut line = self.texts[random.below(self.texts.len())].clone();
        for _ in 0..random.below(12) {
            let (at, other) = (random.below(line.len()), random.below(line.len()));
            match random.below(7) {
                0 => drop(line.remove(at)),
                1 => line.insert(at, random.pick(&self.marks)),
                2 => line.insert(at, random.pick(&self.stubborn)),
                3 => line.insert(at, line[other]),
                4 => line.swap(at, other),
                5 => line
                    .splice(at..=at, line[at].to_uppercase().collect::<Vec<_>>())
                    .for_each(drop),
                _ => line.insert(at, random.pick(&GAPS).chars().next().unwrap_or(' ')),
            }
        }
        text.extend(line);
    }
}

/// Marks with a combining class that `strip_accents` leaves: no accents, or too new for it.
fn stubborn_marks() -> Vec<char> {
    use tokenizers::{NormalizedString, Normalizer};
    let strip = tokenizers::normalizers::BertNormalizer::new(true, true, Some(true), false);
    let stays = |c: &char| {
        let mut text = NormalizedString::from(c.to_string());
        strip.normalize(&mut text).is_ok() && !text.is_empty()
    };
    ('\0'..=char::MAX)
        .filter(|&c| canonical_combining_class(c) > 0)
        .filter(stays)
        .collect()
}

/// A vocabulary with a piece for nearly every character that strings are made of, at the beginning
/// of a word and inside one, and the shorter words of `vocabulary`: every offset shows.
pub fn rich_vocabulary(vocabulary: &str) -> String {
    let mut chars: BTreeSet<char> = ('!'..='\u{3100}')
        .chain(stubborn_marks())
        .chain(['\u{1D157}', '\u{1D158}'])
        .collect();
    chars.extend(
        ('\u{FB00}'..='\u{FFEF}')
            .chain('\u{10400}'..='\u{10450}')
            .chain('\u{1F300}'..='\u{1F6FF}'),
    );
    chars.extend(
        vocabulary
            .chars()
            .chain(TEXTS.chars())
            .filter(|c| !c.is_control()),
    );
    let mut pieces: BTreeSet<String> = chars
        .iter()
        .flat_map(|c| [c.to_string(), format!("##{c}")])
        .collect();
    pieces.extend(
        vocabulary
            .lines()
            .filter(|line| line.len() < 6)
            .map(str::to_owned),
    );
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    pieces.retain(|piece| {
        !piece.contains(char::is_whitespace) && !specials.contains(&piece.as_str())
    });
    let lines = specials.map(str::to_owned).into_iter().chain(pieces);
    lines.collect::<Vec<_>>().join("\n")
}
