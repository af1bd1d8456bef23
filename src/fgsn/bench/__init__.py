"""fgsn bench: how fast the parts are, each beside a plain version of it and beside what the machine allows."""
