"""The messages of Caffe's files, built from the published fields of `caffe.proto`."""

from __future__ import annotations

import functools
from typing import Any

from privzoo import protobuf

# What layers of the old form (V1) are called -> what they are called since; empty: there is nothing to import.
TYPES = {
    **{"NONE": "", "ACCURACY": "Accuracy", "BNLL": "BNLL", "CONCAT": "Concat", "CONVOLUTION": "Convolution"},
    **{"DATA": "Data", "DROPOUT": "Dropout", "EUCLIDEAN_LOSS": "EuclideanLoss", "FLATTEN": "Flatten"},
    **{"HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "IM2COL": "Im2col", "IMAGE_DATA": "ImageData"},
    **{"INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN"},
    **{"MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "POOLING": "Pooling", "RELU": "ReLU"},
    **{"SIGMOID": "Sigmoid", "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split"},
    **{"TANH": "TanH", "WINDOW_DATA": "WindowData", "ELTWISE": "Eltwise", "POWER": "Power"},
    **{"SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "HINGE_LOSS": "HingeLoss"},
    **{"MEMORY_DATA": "MemoryData", "ARGMAX": "ArgMax", "THRESHOLD": "Threshold", "DUMMY_DATA": "DummyData"},
    **{"SLICE": "Slice", "MVN": "MVN", "ABSVAL": "AbsVal", "SILENCE": "Silence"},
    **{"CONTRASTIVE_LOSS": "ContrastiveLoss", "EXP": "Exp", "DECONVOLUTION": "Deconvolution"},
}
ENUMS = {
    "LayerType": {name: number for number, name in enumerate(TYPES)},  # the dict above is in caffe.proto's order
    "Phase": {"TRAIN": 0, "TEST": 1},
    "PoolMethod": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "RoundMode": {"CEIL": 0, "FLOOR": 1},
    "NormRegion": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
}
_SIDES = {"pad_h": (9, "int32"), "pad_w": (10, "int32")}
# As `protobuf.classes` reads them; uint32 is int32 on the wire for any size that a layer can have.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "*int64")},
    "BlobProto": {
        **{name: (i, "int32") for i, name in enumerate(("num", "channels", "height", "width"), start=1)},
        "data": (5, "*float"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "*double"),
    },
    "NetStateRule": {"phase": (1, "=Phase")},
    "TransformationParameter": {
        "scale": (1, "float"),
        "crop_size": (3, "int32"),
        "mean_file": (4, "string"),
        "mean_value": (5, "*float"),
    },
    "ConvolutionParameter": {
        **{"num_output": (1, "int32"), "bias_term": (2, "bool"), "pad": (3, "*int32"), "kernel_size": (4, "*int32")},
        **{"group": (5, "int32"), "stride": (6, "*int32"), "kernel_h": (11, "int32"), "kernel_w": (12, "int32")},
        **{"stride_h": (13, "int32"), "stride_w": (14, "int32"), "dilation": (18, "*int32"), **_SIDES},
    },
    "PoolingParameter": {
        **{"pool": (1, "=PoolMethod"), "kernel_size": (2, "int32"), "stride": (3, "int32"), "pad": (4, "int32")},
        **{"kernel_h": (5, "int32"), "kernel_w": (6, "int32"), "stride_h": (7, "int32"), "stride_w": (8, "int32")},
        **{"global_pooling": (12, "bool"), "round_mode": (13, "=RoundMode"), **_SIDES},
    },
    "LRNParameter": {
        **{"local_size": (1, "int32"), "alpha": (2, "float"), "beta": (3, "float")},
        **{"norm_region": (4, "=NormRegion"), "k": (5, "float")},
    },
    "InnerProductParameter": {
        **{"num_output": (1, "int32"), "bias_term": (2, "bool"), "axis": (5, "int32"), "transpose": (6, "bool")},
    },
    "ReLUParameter": {"negative_slope": (1, "float")},
    "InputParameter": {"shape": (1, "*BlobShape")},
    "V1LayerParameter": {
        **{"bottom": (2, "*string"), "top": (3, "*string"), "name": (4, "string"), "type": (5, "=LayerType")},
        **{"blobs": (6, "*BlobProto"), "include": (32, "*NetStateRule"), "exclude": (33, "*NetStateRule")},
        **{"convolution_param": (10, "ConvolutionParameter"), "inner_product_param": (17, "InnerProductParameter")},
        **{"lrn_param": (18, "LRNParameter"), "pooling_param": (19, "PoolingParameter")},
        **{"relu_param": (30, "ReLUParameter"), "transform_param": (36, "TransformationParameter")},
    },
    "LayerParameter": {
        **{"name": (1, "string"), "type": (2, "string"), "bottom": (3, "*string"), "top": (4, "*string")},
        **{"blobs": (7, "*BlobProto"), "include": (8, "*NetStateRule"), "exclude": (9, "*NetStateRule")},
        **{"convolution_param": (106, "ConvolutionParameter"), "inner_product_param": (117, "InnerProductParameter")},
        **{"lrn_param": (118, "LRNParameter"), "pooling_param": (121, "PoolingParameter")},
        **{"relu_param": (123, "ReLUParameter"), "transform_param": (100, "TransformationParameter")},
        "input_param": (143, "InputParameter"),
    },
    "NetParameter": {
        **{"name": (1, "string"), "layers": (2, "*V1LayerParameter"), "input": (3, "*string")},
        **{"input_dim": (4, "*int32"), "input_shape": (8, "*BlobShape"), "layer": (100, "*LayerParameter")},
    },
}


@functools.cache
def classes() -> dict[str, Any]:
    """Message -> class."""
    return protobuf.classes("privzoo.caffe", _MESSAGES, ENUMS, "proto2")
