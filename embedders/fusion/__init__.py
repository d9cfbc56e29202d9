"""Attention of BERT-like graphs as ONNX Runtime's fused operators, put in when a file is loaded.

ONNX Runtime's optimizer knows one spelling of attention, and not that of every file: it leaves the operators of
``embedders.export.bert`` as they are. Here the file's nodes are replaced in memory. The file stays what it is, and so
does the model's fingerprint, which is made of the file.

- On a GPU each block becomes ``Attention``, with the weights of query, key and value side by side, and the sum and
  normalization behind it ``SkipLayerNormalization``.
- On a CPU the operators stay for batches that have padding or are short, for which nothing is faster. For others each
  block becomes ``MultiHeadAttention`` without a mask, which never holds a matrix of tokens by tokens. Which of the two
  is taken is decided once a call.
"""
