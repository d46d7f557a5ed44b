"""What a head costs the device and the network (Osia et al. 2017, section VI.C; DataMix, Table 1)."""
