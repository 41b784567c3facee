//! Where each parameter lies in the flat buffers of values, gradients and moments.
//!
//! Query, key and value of a layer lie one after the other, weights and biases apart, so that the three are one matrix to
//! the products, and their gradients are as well. Everything else begins at a multiple of 64 numbers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::kernels::CHUNK;
use crate::ops::Parameter;
use crate::ops::encoder::Encoder;

/// Numbers that a parameter's, or a group's, beginning is a multiple of.
const ALIGNMENT: usize = 64;

/// Where parameters lie.
pub struct Layout {
    /// Of each parameter, in the order of their names.
    places: Vec<Range<usize>>,
    /// Where in that order a parameter is.
    order: HashMap<*const Parameter, usize>,
    numbers: usize,
}

// SAFETY: the pointers are keys that are never followed.
unsafe impl Send for Layout {}
// SAFETY: as above.
unsafe impl Sync for Layout {}

impl Layout {
    /// For the parameters of a model, in the order of their names.
    pub fn new(parameters: &[Arc<Parameter>], encoder: &Encoder) -> Self {
        let order: HashMap<_, _> = parameters.iter().map(Arc::as_ptr).zip(0..).collect();
        let mut places = vec![0..0; parameters.len()];
        let mut end = 0;
        let mut put = |group: &[&Arc<Parameter>]| {
            end = usize::next_multiple_of(end, ALIGNMENT);
            for parameter in group {
                let place = &mut places[order[&Arc::as_ptr(parameter)]];
                *place = end..end + parameter.len();
                end = place.end;
            }
        };
        let mut grouped = Vec::new();
        for layer in &encoder.layers {
            let attention = &layer.attention;
            let three = [&attention.query, &attention.key, &attention.value];
            for group in [three.map(|d| &d.weight), three.map(|d| &d.bias)] {
                put(&group);
                grouped.extend(group.map(Arc::as_ptr));
            }
        }
        for parameter in parameters {
            if !grouped.contains(&Arc::as_ptr(parameter)) {
                put(&[parameter]);
            }
        }
        let numbers = end.next_multiple_of(ALIGNMENT);
        Self {
            places,
            order,
            numbers,
        }
    }

    /// Numbers of a flat buffer.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// Which parameter this is.
    ///
    /// # Panics
    /// If it is none of the model's.
    pub fn index(&self, parameter: &Arc<Parameter>) -> usize {
        self.order[&Arc::as_ptr(parameter)]
    }

    /// The place of parameter `index`.
    pub fn place(&self, index: usize) -> Range<usize> {
        self.places[index].clone()
    }

    /// All of every parameter, in pieces for a block each.
    pub fn chunks(&self) -> Vec<Chunk> {
        let of = |(parameter, place): (u32, &Range<usize>)| {
            let end = place.end;
            let begins = place.clone().step_by(CHUNK);
            begins.map(move |begin| Chunk {
                begin: begin as u64,
                count: (end - begin).min(CHUNK) as u32,
                parameter,
            })
        };
        (0..).zip(&self.places).flat_map(of).collect()
    }
}

/// Numbers of one parameter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Chunk {
    /// The first.
    pub begin: u64,
    /// How many.
    pub count: u32,
    /// Whose.
    pub parameter: u32,
}
