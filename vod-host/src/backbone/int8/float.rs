//! A model file's layers in floating point, in the order and layout of `vod_core::conv`.

use std::collections::HashMap;
use std::io::Cursor;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::Framework;
use vod_core::conv::{MAX_LAYERS, Operation};

use super::super::Manifest;

/// A chain of layers.
pub(super) struct FloatNetwork {
    pub layers: Vec<FloatLayer>,
}

/// A layer of [`vod_core::conv::LayerParts`], not yet quantised.
pub(super) struct FloatLayer {
    pub operation: Operation,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// In the layout of [`vod_core::conv::LayerParts::weights`].
    pub weights: Vec<f32>,
    /// `[outputs]`.
    pub biases: Vec<f32>,
    /// Whether outputs are limited to 0..=6.
    pub relu6: bool,
    /// A value that is added: the input of the layer that lies this many before.
    pub skip: Option<usize>,
    /// Name of the output in the graph.
    pub output: String,
}

impl FloatLayer {
    /// Weights of one output channel.
    pub fn weights_of(&self, channel: usize) -> Vec<f32> {
        match self.operation {
            Operation::Depthwise => {
                let all = self.weights.iter().skip(channel);
                all.step_by(self.outputs).copied().collect()
            }
            Operation::Pointwise | Operation::Convolution => {
                let len = self.weights.len() / self.outputs;
                self.weights[channel * len..(channel + 1) * len].to_vec()
            }
        }
    }
}

type Found<T> = std::result::Result<T, String>;

impl FloatNetwork {
    /// The layers from a model's input to the one output of the manifest's features: convolutions
    /// with ReLU6 or without, and sums with earlier values.
    pub fn read(manifest: &Manifest, model: &[u8]) -> Found<Self> {
        let model = tract_onnx::onnx()
            .proto_model_for_read(&mut Cursor::new(model))
            .map_err(|e| format!("not an ONNX model: {e}"))?;
        let graph = model.graph.ok_or("the model has no graph")?;
        let graph = Graph::new(&graph);
        let [output] = manifest.features.outputs.as_slice() else {
            return Err("an int8 backbone has one output".into());
        };
        let mut name = output.as_str();
        let mut layers: Vec<FloatLayer> = Vec::new();
        // Inputs of the layers, and the sources of what goes around, both from the last layer on.
        let (mut inputs, mut sources) = (Vec::new(), Vec::new());
        while name != manifest.input.name {
            if layers.len() == MAX_LAYERS {
                return Err(format!("more than {MAX_LAYERS} layers"));
            }
            let mut output = name;
            let mut source = None;
            let mut relu6 = false;
            let node = loop {
                let node = graph.producer(name)?;
                match node.op_type.as_str() {
                    "Identity" => {
                        name = input(node, 0)?;
                        output = name;
                    }
                    "Clip" => {
                        let (low, high) = (graph.scalar(node, 1)?, graph.scalar(node, 2)?);
                        if (low, high) != (0.0, 6.0) {
                            return Err(format!("`{name}` clips to {low}..{high}, not 0..6"));
                        }
                        relu6 = true;
                        name = input(node, 0)?;
                    }
                    "Add" => {
                        let mut sides = [input(node, 0)?, input(node, 1)?];
                        // The later one is the way through the layers.
                        sides.sort_by_key(|side| std::cmp::Reverse(graph.place(side)));
                        source = Some(sides[1]);
                        name = sides[0];
                    }
                    "Conv" => break node,
                    other => return Err(format!("`{name}` is a {other}, which no layer does")),
                }
            };
            let mut layer = graph.layer(node)?;
            layer.relu6 = relu6;
            layer.output = output.to_string();
            name = input(node, 0)?;
            inputs.push(name);
            sources.push(source);
            layers.push(layer);
        }
        layers.reverse();
        inputs.reverse();
        sources.reverse();
        for (number, source) in sources.iter().enumerate() {
            if let Some(source) = source {
                let from = inputs.iter().position(|input| input == source);
                let from = from.ok_or_else(|| format!("`{source}` is no layer's input"))?;
                layers[number].skip = Some(number - from);
            }
        }
        Ok(Self { layers })
    }
}

/// Access to a graph by the names of its values.
struct Graph<'g> {
    producers: HashMap<&'g str, (usize, &'g NodeProto)>,
    constants: HashMap<&'g str, &'g TensorProto>,
}

impl<'g> Graph<'g> {
    fn new(graph: &'g GraphProto) -> Self {
        let nodes = graph.node.iter().enumerate();
        let producers =
            nodes.flat_map(|(i, node)| node.output.iter().map(move |o| (o.as_str(), (i, node))));
        let constants = graph.initializer.iter().map(|t| (t.name.as_str(), t));
        Self {
            producers: producers.collect(),
            constants: constants.collect(),
        }
    }

    fn producer(&self, name: &str) -> Found<&'g NodeProto> {
        let found = self.producers.get(name).map(|(_, node)| *node);
        found.ok_or_else(|| format!("no node gives `{name}`"))
    }

    /// Place in the order of computation; 0 for inputs.
    fn place(&self, name: &str) -> usize {
        self.producers.get(name).map_or(0, |(place, _)| place + 1)
    }

    /// Shape and values of a constant input.
    fn constant(&self, node: &NodeProto, index: usize) -> Found<(Vec<usize>, Vec<f32>)> {
        let name = input(node, index)?;
        let tensor = self.constants.get(name);
        let tensor = tensor.ok_or_else(|| format!("`{name}` is no constant"))?;
        let shape: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
        let values: Vec<f32> = if tensor.raw_data.is_empty() {
            tensor.float_data.clone()
        } else {
            let (words, _) = tensor.raw_data.as_chunks::<4>();
            words.iter().map(|w| f32::from_le_bytes(*w)).collect()
        };
        const FLOAT: i32 = 1;
        if tensor.data_type != FLOAT || values.len() != shape.iter().product::<usize>() {
            return Err(format!("`{name}` is not a whole float tensor"));
        }
        Ok((shape, values))
    }

    fn scalar(&self, node: &NodeProto, index: usize) -> Found<f32> {
        let (_, values) = self.constant(node, index)?;
        let first = values.first().copied();
        first.ok_or_else(|| format!("`{}` has an empty limit", node.name))
    }

    /// A convolution node as a layer.
    fn layer(&self, node: &NodeProto) -> Found<FloatLayer> {
        let name = &node.name;
        let (shape, values) = self.constant(node, 1)?;
        let (_, biases) = self.constant(node, 2)?;
        let [outputs, per_group, height, width] = shape[..] else {
            return Err(format!("weights of `{name}` are {shape:?}"));
        };
        let ints = |attribute: &str| -> Vec<usize> {
            let found = node.attribute.iter().find(|a| a.name == attribute);
            let ints = found.map(|a: &AttributeProto| a.ints.iter().map(|&i| i as usize));
            ints.map(Iterator::collect).unwrap_or_default()
        };
        let group = node.attribute.iter().find(|a| a.name == "group");
        let group = group.map_or(1, |a| a.i as usize);
        let strides = ints("strides");
        let stride = strides.first().copied().unwrap_or(1);
        let pads = ints("pads");
        let pad = pads.first().copied().unwrap_or(0);
        let behind = (height.max(stride) - stride).checked_sub(pad);
        let square = height == width && strides.iter().all(|&s| s == stride);
        let even = ints("dilations").iter().all(|&d| d == 1)
            && behind.is_some_and(|after| pads.is_empty() || pads == [pad, pad, after, after]);
        if !square || !even || biases.len() != outputs || outputs == 0 {
            return Err(format!(
                "`{name}` has strides {strides:?} and pads {pads:?} that no layer has"
            ));
        }
        let operation = match (group, height) {
            (1, 1) => Operation::Pointwise,
            (1, _) => Operation::Convolution,
            _ if per_group == 1 && group == outputs => Operation::Depthwise,
            _ => return Err(format!("`{name}` has {group} groups")),
        };
        let inputs = per_group * group;
        let window = height * width;
        // From [outputs, inputs of the group, height, width].
        let at = |o: usize, i: usize, tap: usize| values[(o * per_group + i) * window + tap];
        let mut weights = Vec::with_capacity(values.len());
        match operation {
            Operation::Pointwise => weights.extend(&values),
            Operation::Depthwise => {
                for tap in 0..window {
                    weights.extend((0..outputs).map(|o| at(o, 0, tap)));
                }
            }
            Operation::Convolution => {
                let len = (window * inputs).next_multiple_of(4);
                for o in 0..outputs {
                    for tap in 0..window {
                        weights.extend((0..inputs).map(|i| at(o, i, tap)));
                    }
                    weights.resize((o + 1) * len, 0.0);
                }
            }
        }
        Ok(FloatLayer {
            operation,
            kernel: height,
            stride,
            pad,
            inputs,
            outputs,
            weights,
            biases,
            relu6: false,
            skip: None,
            output: String::new(),
        })
    }
}

fn input(node: &NodeProto, index: usize) -> Found<&str> {
    let found = node.input.get(index).map(String::as_str);
    found.ok_or_else(|| format!("`{}` lacks input {index}", node.name))
}
