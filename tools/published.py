"""Published returns of strategies and agents, by setting: what compare_strategies.py prints beside its own.

Yan Duan et al. RL2: Fast Reinforcement Learning via Slow Reinforcement Learning. 2016, arXiv:1611.02779, tables 1 and 2; the
column SNAIL: Nikhil Mishra et al. A Simple Neural Attentive Meta-Learner. ICLR 2018, arXiv:1707.03141. Copied by way of the
README of lucaslingle/pytorch_rl2.
"""

_BANDITS = ["Random", "Gittins", "Thompson", "Optimistic Thompson", "UCB1", "Epsilon-greedy", "Greedy", "RL2", "SNAIL"]
BANDITS = {  # (pulls, arms): total reward
    key: dict(zip(_BANDITS, figures, strict=True))
    for key, figures in {
        (10, 5): (5.0, 6.6, 5.7, 6.5, 6.7, 6.6, 6.6, 6.7, 6.6),
        (10, 10): (5.0, 6.6, 5.5, 6.2, 6.7, 6.6, 6.6, 6.7, 6.7),
        (10, 50): (5.1, 6.5, 5.2, 5.5, 6.6, 6.5, 6.5, 6.8, 6.7),
        (100, 5): (49.9, 78.3, 74.7, 77.9, 78.0, 75.4, 74.8, 78.7, 79.1),
        (100, 10): (49.9, 82.8, 76.7, 81.4, 82.4, 77.4, 77.1, 83.5, 83.5),
        (100, 50): (49.8, 85.2, 64.5, 67.7, 84.3, 78.3, 78.0, 84.9, 85.1),
        (500, 5): (249.8, 405.8, 402.0, 406.7, 405.8, 388.2, 380.6, 401.6, 408.1),
        (500, 10): (249.0, 437.8, 429.5, 438.9, 437.1, 408.0, 395.0, 432.5, 432.4),
        (500, 50): (249.6, 463.7, 427.2, 437.6, 457.6, 413.6, 402.8, 438.9, 442.6),
    }.items()
}

_MDPS = ["Random", "PSRL", "Optimistic PSRL", "UCRL2", "BEB", "Epsilon-greedy", "Greedy", "RL2", "SNAIL"]
MDPS = {  # episodes: total reward
    key: dict(zip(_MDPS, figures, strict=True))
    for key, figures in {
        10: (100.1, 138.1, 144.1, 146.6, 150.2, 132.8, 134.8, 156.2, 159.1),
        25: (250.2, 408.8, 425.2, 424.1, 427.8, 377.3, 368.8, 445.7, 447.2),
        50: (499.7, 904.4, 930.7, 918.9, 917.8, 823.3, 769.3, 936.1, 942.3),
        75: (749.9, 1417.1, 1449.2, 1427.6, 1422.6, 1293.9, 1172.9, 1428.8, 1447.5),
        100: (999.4, 1939.5, 1973.9, 1942.1, 1935.1, 1778.2, 1578.5, 1913.7, 1953.1),
    }.items()
}
