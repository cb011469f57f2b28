"""One module per published study: tables in, tables out."""
