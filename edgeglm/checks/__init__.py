"""What can be found wrong before anything long is done: the recipe, the machine, the model, every export."""
