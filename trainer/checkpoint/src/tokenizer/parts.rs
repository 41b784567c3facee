//! A tokenizer taken apart, each part checked to be BERT's.

use serde::Serialize;
use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Model, Tokenizer};

use berth_wordpiece::MAX_WORD_CHARS;
use berth_wordpiece::layout::NONE;

use super::Odd;

/// What tables are made from.
pub(super) struct Parts {
    pub normalizer: BertNormalizer,
    pub pre_tokenizer: BertPreTokenizer,
    /// Pieces with their ids, in the order of ids.
    pub vocabulary: Vec<(u32, String)>,
    /// Tokens that are found in raw text, longest first.
    pub specials: Vec<(u32, String)>,
    pub unk: u32,
    pub cls: u32,
    pub sep: u32,
    pub pad: u32,
    pub word_chars: u32,
}

impl Parts {
    pub fn of(tokenizer: &Tokenizer) -> Result<Parts, Odd> {
        let normalizer = match tokenizer.get_normalizer() {
            Some(NormalizerWrapper::BertNormalizer(normalizer)) => *normalizer,
            other => return Err(odd("normalizer", kind(&other), "a BertNormalizer")),
        };
        let pre_tokenizer = match tokenizer.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::BertPreTokenizer(pre_tokenizer)) => *pre_tokenizer,
            other => return Err(odd("pre-tokenizer", kind(&other), "a BertPreTokenizer")),
        };
        let model = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => model,
            other => return Err(odd("model", kind(&other), "WordPiece")),
        };
        let (cls, sep) = frame(tokenizer.get_post_processor())?;
        Ok(Parts {
            normalizer,
            pre_tokenizer,
            vocabulary: vocabulary(model)?,
            specials: specials(tokenizer)?,
            unk: unk(model)?,
            cls,
            sep,
            pad: tokenizer.token_to_id("[PAD]").unwrap_or(NONE),
            word_chars: model.max_input_chars_per_word as u32,
        })
    }
}

fn vocabulary(model: &WordPiece) -> Result<Vec<(u32, String)>, Odd> {
    if model.continuing_subword_prefix != "##" {
        return Err(odd(
            "prefix inside words",
            format!("{:?}", model.continuing_subword_prefix),
            "\"##\"",
        ));
    }
    if !(1..=MAX_WORD_CHARS).contains(&model.max_input_chars_per_word) {
        return Err(odd(
            "longest word",
            format!("{} characters", model.max_input_chars_per_word),
            "1 to 100 characters",
        ));
    }
    let mut pieces: Vec<_> = model
        .get_vocab()
        .into_iter()
        .map(|(piece, id)| (id, piece))
        .collect();
    pieces.sort_unstable();
    if let Some(twice) = pieces.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let found = format!(
            "{} for both {:?} and {:?}",
            twice[0].0, twice[0].1, twice[1].1
        );
        return Err(odd("id in the vocabulary", found, "another for each piece"));
    }
    Ok(pieces)
}

fn unk(model: &WordPiece) -> Result<u32, Odd> {
    let missing = || {
        odd(
            "unknown token",
            format!("{:?}, which has no id", model.unk_token),
            "in the vocabulary",
        )
    };
    model.token_to_id(&model.unk_token).ok_or_else(missing)
}

fn specials(tokenizer: &Tokenizer) -> Result<Vec<(u32, String)>, Odd> {
    let mut specials = Vec::new();
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        if token.normalized || token.single_word || token.lstrip || token.rstrip {
            return Err(odd(
                "added token",
                describe(&token),
                "found as it is written: no normalized, single_word, lstrip, rstrip",
            ));
        }
        if token.content.len() > usize::from(u8::MAX) {
            return Err(odd(
                "added token",
                format!("{:?}", token.content),
                "of at most 255 bytes",
            ));
        }
        specials.push((id, token.content));
    }
    specials.sort_unstable_by_key(|(id, token)| (usize::MAX - token.len(), *id));
    Ok(specials)
}

fn describe(token: &AddedToken) -> String {
    let flags = [
        ("normalized", token.normalized),
        ("single_word", token.single_word),
        ("lstrip", token.lstrip),
        ("rstrip", token.rstrip),
    ];
    let set: Vec<&str> = flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| *name)
        .collect();
    format!("{:?} with {}", token.content, set.join(", "))
}

/// The ids of `[CLS]` and `[SEP]`, from a post-processor that puts them where BERT has them.
fn frame(processor: Option<&PostProcessorWrapper>) -> Result<(u32, u32), Odd> {
    match processor {
        Some(PostProcessorWrapper::Bert(bert)) => Ok((bert.cls.1, bert.sep.1)),
        Some(template @ PostProcessorWrapper::Template(_)) => {
            let template = serde_json::to_value(template).unwrap_or(Value::Null);
            template_frame(&template)
                .ok_or_else(|| odd("post-processor", template["pair"].to_string(), FRAME))
        }
        other => Err(odd("post-processor", kind(&other), FRAME)),
    }
}

const FRAME: &str =
    "[CLS] A [SEP], and for two texts [CLS] A [SEP] B [SEP] with token type 1 from B on";

fn template_frame(template: &Value) -> Option<(u32, u32)> {
    let cls = template["single"][0]["SpecialToken"]["id"].as_str()?;
    let sep = template["single"][2]["SpecialToken"]["id"].as_str()?;
    let token = |id: &str, kind: u32| json!({"SpecialToken": {"id": id, "type_id": kind}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let single = json!([token(cls, 0), text("A", 0), token(sep, 0)]);
    let pair = json!([
        token(cls, 0),
        text("A", 0),
        token(sep, 0),
        text("B", 1),
        token(sep, 1)
    ]);
    let id = |token: &str| {
        let ids = template["special_tokens"][token]["ids"].as_array()?;
        if ids.len() == 1 {
            u32::try_from(ids[0].as_u64()?).ok()
        } else {
            None
        }
    };
    if template["single"] == single && template["pair"] == pair {
        Some((id(cls)?, id(sep)?))
    } else {
        None
    }
}

/// The `type` of a part as tokenizer.json has it.
fn kind(part: &impl Serialize) -> String {
    let part = serde_json::to_value(part).unwrap_or(Value::Null);
    part["type"].as_str().unwrap_or("missing").to_owned()
}

fn odd(part: &'static str, found: impl Into<String>, wanted: &'static str) -> Odd {
    Odd {
        part,
        found: found.into(),
        wanted,
    }
}
