"""What a reader looks at and touches: figures with alternative text, and checks that teach."""
