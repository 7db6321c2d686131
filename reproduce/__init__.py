"""The paper's tables as experiments: what is trained, and how it is compared and reported."""
