//! A model on a device: flat buffers of all its parameters, gradients and moments, and what a run asks of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inputs::{Packed, Sums};
use super::kernels::{AdamW, CHUNK, Narrow, Squares, Stream, Total};
use super::layout::Layout;
use super::loss::{Learned, PackedTargets};
use super::machine::{Address, Buffer, Machine, Memory, Operand};
use super::pass::Pass;
use crate::batches::Batch;
use crate::device::{DeviceError, Engine, Numbers};
use crate::kernels::adamw::Update;
use crate::kernels::loss::Weighing;
use crate::model::{Bert, Head};
use crate::ops::Parameter;
use crate::ops::encoder::Encoder;
use crate::ops::loss::Targets;

/// The parameters on the device.
pub struct Model {
    layout: Layout,
    values: Buffer,
    gradients: Buffer,
    /// The values once more in bf16, where products read that.
    narrowed: Option<Buffer>,
    /// The parameters that have a gradient since the last step.
    filled: Mutex<Vec<bool>>,
}

impl Model {
    /// Where the values of a parameter are.
    pub fn value(&self, parameter: &Arc<Parameter>) -> Address {
        self.weight(Operand::Full, parameter)
    }

    /// Where a parameter is as products read it.
    pub fn weight(&self, operand: Operand, parameter: &Arc<Parameter>) -> Address {
        let first = self.layout.place(self.layout.index(parameter)).start;
        match (operand, &self.narrowed) {
            (Operand::Half, Some(narrowed)) => narrowed.at() + 2 * first as u64,
            _ => self.values.at() + 4 * first as u64,
        }
    }

    /// Where all gradients are.
    pub fn gradients(&self) -> Address {
        self.gradients.at()
    }

    /// Where the gradient of a parameter is, which from now on has one.
    pub fn gradient(&self, parameter: &Arc<Parameter>) -> Address {
        let index = self.layout.index(parameter);
        self.filled()[index] = true;
        self.gradients.at() + 4 * self.layout.place(index).start as u64
    }

    fn filled(&self) -> MutexGuard<'_, Vec<bool>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model on a device, and its optimizer's state.
pub struct Trained {
    model: Model,
    moments: [Buffer; 2],
    chunks: Buffer,
    chunk_count: usize,
    encoder: Arc<Encoder>,
    head: Head,
    stream: Stream,
    memory: Arc<Memory>,
    /// What the encoder's products read in training.
    operand: Operand,
}

impl Trained {
    /// Puts a model on a device.
    pub fn new(
        machine: Arc<dyn Machine>,
        model: &Bert,
        operand: Operand,
    ) -> Result<Self, DeviceError> {
        let (stream, memory) = (Stream::new(machine.clone()), Memory::new(machine));
        let layout = Layout::new(model.parameters(), model.encoder());
        let numbers = layout.numbers();
        let zeros = || {
            let buffer = memory.take(4 * numbers)?;
            buffer.clear()?;
            Ok::<_, DeviceError>(buffer)
        };
        let chunks = layout.chunks();
        let mut packed = Packed::default();
        packed.put(chunks.iter().map(|chunk| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&chunk.begin.to_ne_bytes());
            bytes[8..12].copy_from_slice(&chunk.count.to_ne_bytes());
            bytes[12..].copy_from_slice(&chunk.parameter.to_ne_bytes());
            bytes
        }));
        let narrowed = match operand {
            Operand::Full => None,
            Operand::Half => Some(memory.take(2 * numbers)?),
        };
        let trained = Self {
            model: Model {
                values: zeros()?,
                gradients: zeros()?,
                narrowed,
                filled: Mutex::new(vec![false; model.parameters().len()]),
                layout,
            },
            moments: [zeros()?, zeros()?],
            chunks: packed.send(&memory)?.into_buffer(),
            chunk_count: chunks.len(),
            encoder: model.encoder().clone(),
            head: model.head().clone(),
            stream,
            memory,
            operand,
        };
        for (index, parameter) in model.parameters().iter().enumerate() {
            trained.put(Numbers::Values, index, &parameter.values())?;
        }
        trained.narrow()?;
        Ok(trained)
    }

    /// Sends a batch, with its targets if it is to be learned from.
    fn send<'a>(
        &'a self,
        batch: &'a Batch,
        masks: Option<u64>,
        learned: Option<Learned<'_>>,
    ) -> Result<(Pass<'a>, Option<PackedTargets>), DeviceError> {
        self.check(batch)?;
        self.memory.begin_pass();
        let mut packed = Packed::default();
        let token = |token: &crate::kernels::embed::Token| {
            [token.word, token.position, token.kind].map(u32::to_ne_bytes)
        };
        let tokens = packed.put(batch.tokens.iter().flat_map(token));
        let starts = packed.indices(batch.packing.starts().iter().copied());
        let targets =
            learned.map(|learned| PackedTargets::new(learned, self.outputs(), &mut packed));
        let sums = learned.map(|_| {
            let embeddings = &self.encoder.embeddings;
            let first = |table: &Arc<Parameter>| {
                let layout = &self.model.layout;
                (!table.is_fixed()).then(|| layout.place(layout.index(table)).start)
            };
            let tables = [&embeddings.word, &embeddings.position, &embeddings.kind].map(first);
            Sums::new(&batch.tokens, tables, embeddings.norm.weight.len()).pack(&mut packed)
        });
        let pass = Pass {
            model: &self.model,
            stream: &self.stream,
            memory: &self.memory,
            operand: masks.map_or(Operand::Full, |_| self.operand),
            masks,
            batch,
            sent: packed.send(&self.memory)?,
            tokens,
            starts,
            sums,
        };
        Ok((pass, targets))
    }

    /// That every token's rows are there, and rows can be counted as the kernels do.
    fn check(&self, batch: &Batch) -> Result<(), DeviceError> {
        let wrong = |problem: String| DeviceError::Call {
            call: "batch",
            problem,
        };
        let checked = self.encoder.embeddings.check(&batch.tokens);
        checked.map_err(|error| wrong(error.to_string()))?;
        if batch.tokens.len() != batch.packing.rows() || batch.tokens.len() > i32::MAX as usize / 64
        {
            return Err(wrong(format!("{} tokens", batch.tokens.len())));
        }
        Ok(())
    }

    fn outputs(&self) -> usize {
        match &self.head {
            Head::Sequence { classifier, .. } | Head::Token(classifier) => {
                classifier.dense.outputs()
            }
        }
    }

    /// The bf16 of all values.
    fn narrow(&self) -> Result<(), DeviceError> {
        let Some(narrowed) = &self.model.narrowed else {
            return Ok(());
        };
        let argument = Narrow {
            from: self.model.values.at(),
            to: narrowed.at(),
            count: self.model.layout.numbers() as u64,
        };
        // SAFETY: both have as many numbers as the layout.
        unsafe { self.stream.narrow(Operand::Full, argument) }
    }

    fn buffer(&self, numbers: Numbers) -> &Buffer {
        match numbers {
            Numbers::Values => &self.model.values,
            Numbers::Gradient => &self.model.gradients,
            Numbers::FirstMoment => &self.moments[0],
            Numbers::SecondMoment => &self.moments[1],
        }
    }

    fn put(&self, numbers: Numbers, parameter: usize, values: &[f32]) -> Result<(), DeviceError> {
        let place = self.model.layout.place(parameter);
        assert_eq!(
            place.len(),
            values.len(),
            "as many numbers as the parameter has"
        );
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.buffer(numbers).upload(4 * place.start, &bytes)
    }
}

impl Engine for Trained {
    fn logits(&self, batch: &Batch, masks: Option<u64>) -> Result<Vec<f32>, DeviceError> {
        let (pass, _) = self.send(batch, masks, None)?;
        let (x, _) = pass.encode(&self.encoder, self.head.asking())?;
        let rows = x.count;
        let (logits, _) = pass.answer(&self.head, x.full, rows)?;
        read_numbers(&logits, 0, rows * self.outputs())
    }

    fn learn(
        &self,
        batch: &Batch,
        masks: u64,
        targets: &Targets,
        weighing: Option<&Weighing>,
        whole: f64,
    ) -> Result<f64, DeviceError> {
        let learned = Learned {
            targets,
            weighing,
            whole,
        };
        let (pass, packed) = self.send(batch, Some(masks), Some(learned))?;
        let packed = packed.expect("what is learned from was packed");
        let (x, encoded) = pass.encode(&self.encoder, self.head.asking())?;
        let rows = x.count;
        let (logits, answered) = pass.answer(&self.head, x.full, rows)?;
        let (loss, dlogits) = pass.loss(&packed, &logits, rows, self.outputs())?;
        let dx = pass.answer_backward(&self.head, answered, &dlogits)?;
        pass.encode_backward(&self.encoder, encoded, dx)?;
        read_double(&loss)
    }

    fn without_gradient(&self) -> Vec<usize> {
        let filled = self.model.filled();
        (0..filled.len()).filter(|&index| !filled[index]).collect()
    }

    fn gradient_norm(&self) -> Result<f64, DeviceError> {
        let count = self.model.layout.numbers();
        let terms = self.memory.take(8 * count.div_ceil(CHUNK))?;
        let sum = self.memory.take(8)?;
        let squares = Squares {
            x: self.model.gradients.at(),
            terms: terms.at(),
            count: count as u64,
        };
        let total = Total {
            terms: terms.at(),
            sum: sum.at(),
            count: count.div_ceil(CHUNK) as u64,
        };
        // SAFETY: there is a term for each chunk of the gradients, and room for a double.
        unsafe {
            self.stream.squares(Operand::Full, squares)?;
            self.stream.total(Operand::Full, total)?;
        }
        Ok(read_double(&sum)?.sqrt())
    }

    fn step(&self, updates: &[Update]) -> Result<(), DeviceError> {
        let mut packed = Packed::default();
        let numbers = updates
            .iter()
            .flat_map(|update| update.numbers().map(f32::to_ne_bytes));
        let offset = packed.put(numbers);
        let sent = packed.send(&self.memory)?;
        let argument = AdamW {
            p: self.model.values.at(),
            g: self.model.gradients.at(),
            m: self.moments[0].at(),
            v: self.moments[1].at(),
            narrowed: self.model.narrowed.as_ref().map_or(0, Buffer::at),
            chunks: self.chunks.at(),
            updates: sent.at(offset),
            chunk_count: self.chunk_count as u64,
        };
        // SAFETY: the chunks are the layout's, and each names one of its parameters, of which each has an update.
        unsafe { self.stream.adamw(Operand::Full, argument) }?;
        self.model.filled().fill(false);
        Ok(())
    }

    fn read(&self, numbers: Numbers, parameter: usize) -> Result<Vec<f32>, DeviceError> {
        let place = self.model.layout.place(parameter);
        read_numbers(self.buffer(numbers), place.start, place.len())
    }

    fn write(&self, numbers: Numbers, parameter: usize, values: &[f32]) -> Result<(), DeviceError> {
        self.put(numbers, parameter, values)?;
        match numbers {
            Numbers::Values => self.narrow(),
            _ => Ok(()),
        }
    }
}

fn read_numbers(buffer: &Buffer, first: usize, count: usize) -> Result<Vec<f32>, DeviceError> {
    let mut bytes = vec![0; 4 * count];
    buffer.download(4 * first, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers
        .iter()
        .map(|&bytes| f32::from_ne_bytes(bytes))
        .collect())
}

fn read_double(buffer: &Buffer) -> Result<f64, DeviceError> {
    let mut bytes = [0; 8];
    buffer.download(0, &mut bytes)?;
    Ok(f64::from_ne_bytes(bytes))
}
