"""A training under way: observe -> decide -> carry out -> tell -> remember.

- Begin: `session` begins a `fit` and each epoch, `resuming` its first epoch.
- Observe: `observing`; within an epoch `cadence`, too.
- Decide: `deciding` at the end of an epoch and of a training, `within_epoch` at a batch. They go through all the steps.
- Carry out: `session`, by way of `rates` and `snapshots`.
- Tell: `telling`; warnings are in `notices` and `advice`.
- Remember: `remembering` writes what `memory` holds.
"""
