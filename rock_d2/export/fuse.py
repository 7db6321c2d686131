"""A trained model with fewer operations (the export helper replaces this file)."""


def inference_copy(model, cfg):
    return model


def fold(model):
    return model
