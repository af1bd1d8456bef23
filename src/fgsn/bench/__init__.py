"""fgsn bench: how fast each step is, compared with a baseline and with the roofline of the machine.

Each file measures one subject; `street` generates the street that localization is measured on. The scripts in
benchmarks/ import the subjects from here.
"""
