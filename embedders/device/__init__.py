"""How batches of texts run: where outputs are reduced, in which shapes, in how many sessions, within which memory.

What a text model (`embedders.text_model.TextModel`) runs its graph with, on CPUs and GPUs alike. Each part can be
switched, by arguments of every model (`embedders.model_options.Runtime`):

| argument | part | unless given |
| --- | --- | --- |
| ``batches=BatchSettings(reduce_on_device=...)`` | pooling and the like where the model ran, or with NumPy | on GPUs |
| ``batches=BatchSettings(buckets=...)`` | few shapes of batches | on GPUs |
| ``batches=BatchSettings(ahead=...)`` | batches prepared in threads while others run | 2 on GPUs, 0 on CPUs |
| ``sessions=...`` | sessions of a device, each with its copy of the weights | 2 for small models on GPUs, else 1 |
| ``device_ids=[...]`` | GPUs that serve one model | the first |
| ``token_budget=...`` | tokens of one call; less where a GPU has no memory for them | `embedders.batching` |
| ``use_tf32=...`` | rounded factors on GPUs | ONNX Runtime's choice |

A loaded model's ``text_model.runner`` (`text_runner.TextRunner`) has the resolved parts: ``pool.sessions``,
``settings``, ``budget``. ``runner.run_bare(tokens, outputs, inputs)`` runs a graph, and keeps and copies nothing: what
all else is to be measured by. One batch alone: ``session.on_device.run(outputs, session.on_device.upload(feed))``.
"""
