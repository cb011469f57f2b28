"""Problems and the tokens of their calculations; knows no model."""
