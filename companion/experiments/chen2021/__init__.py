"""Chen, Cao, Zou and Gu (2021): how much width is enough, and how separable the data are."""
