"""What a model can do on texts and problems that the reference models' training held out."""
