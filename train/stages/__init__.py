"""One file a stage: main(argv) and the stage's one function. No stage imports another, but `all` runs them."""
