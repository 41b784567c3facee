//! The road end to end, one module for each question:
//!
//! | module | question |
//! |---|---|
//! | [`arrows`] | does each crate use only what lies further down the road? |
//! | [`families`] | does a DistilBERT go the whole road? |
//! | [`forward`] | do reference, trainer, encoder and tract compute the same model, layer by layer? |
//! | [`gradients`] | are the trainer's gradients those of the reference? |
//! | [`journey`] | do sentences become answers, and the same ones each time? |
//! | [`kills`], [`faults`] | does a run that is killed, or whose disk fails, lose no work? |
//! | [`interrupted`] | does Ctrl-C leave nothing half-written? |
//! | [`kept`] | does what a command reads, and what others made, stay as it is? |
//! | [`seeds`] | do several runs in one command come to what each comes to alone? |
//! | [`questions`] | does the device give the answers to questions that the workstation measured? |
//! | [`tagging`] | do words get their tags, the same ones at every stage? |
//! | [`answers`] | do people and programs get the same answers, as sure as the bundle says, of long texts too? |
//! | [`predictions`] | do files of predictions say what was measured, and what the device answers? |
//! | [`pages`] | do fine-tuning and quantizing leave whole pages and cards that say what was done? |
//! | [`several_labels`] | do rows with any number of labels keep them, from the file to the device? |
//! | [`contents`] | is what a file holds told before it is learnt from? |
//! | [`onnx`] | does ONNX out and in keep the model, and do files of other makers come in? |
//! | [`bad_input`] | does bad input get one clear line and leave nothing half-written? |
//! | [`flags`] | do the flags of later commands do what they say, or are they refused? |
//! | [`search`] | is a model that int8 breaks repaired? |
//! | [`sizes`] | does a model whose sizes fill no whole vectors go the whole road? |
//! | [`real`] | does it hold on real sentences and a real base model, where they are there? |
//!
//! [`fixture`] makes what they share: sentences, a tiny model, folders; [`dequantized`] reads a bundle
//! back into the reference; [`program`] runs `berth`.

mod answers;
mod arrows;
mod bad_input;
mod contents;
mod dequantized;
mod families;
mod faults;
mod fixture;
mod flags;
mod forward;
mod gradients;
mod interrupted;
mod journey;
mod kept;
mod kills;
mod onnx;
mod pages;
mod predictions;
mod program;
mod questions;
mod real;
mod search;
mod seeds;
mod several_labels;
mod sizes;
mod tagging;
