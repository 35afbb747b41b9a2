"""The sentences on which an encoder's activations are measured before they become int8.

Ours, in the forms that news and posts take. What matters is that every kind of token
occurs, not what the sentences say: the scales follow the widest values seen.
"""

CALIBRATION_TEXTS = (
    "Bitcoin surges past its record as funds buy",
    "bitcoin slides",
    "Exchange hacked, $200 million in ether stolen from its hot wallets",
    "The committee meets on Tuesday.",
    "$BTC breaks 120,000! To the moon 🚀🚀 #bitcoin #crypto https://news.example/a?id=19",
    "$ETH -8.4% in 24h, longs liquidated: $312M",
    "Regulator approves the first spot fund for Solana; shares of the issuer gain 12%",
    "Regulator rejects the fund and fines its sponsor EUR 4.5 mn",
    "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn in the corresponding period of 2024.",
    "Net sales fell by 5 % year on year, and the company cut 200 jobs at its Ohio plant.",
    "Analysts upgrade the miner's shares to buy and raise the target price to $42",
    "Analysts at the bank downgrade $COIN to sell; stock drops premarket",
    "Profits miss expectations for a third quarter in a row",
    "How does a blockchain work? A short guide for beginners",
    "The conference opens in Singapore next week; tickets cost 499 dollars.",
    "Fed holds rates at 5.25%, signals two cuts; dollar weakens, gold and stocks up",
    "Inflation hotter than expected: CPI +0.6% m/m, Treasury yields jump to 4.9%",
    "Oil prices plunge 7% as OPEC+ fails to agree on output",
    "Developers set the date of the next upgrade, EIP-7702 included",
    "Stablecoin issuer says its reserves are held in cash and short-term government bonds",
    "Whale moves 40,000 BTC (about $4.1 billion) to an unknown wallet",
    "Court dismisses the lawsuit against the exchange, its token soars 35 percent",
    "Founder arrested at the airport on charges of fraud and money laundering",
    "Bank collapses; depositors can't withdraw, contagion feared across the sector",
    "BREAKING: trading halted",
    "Up.",
    "?",
    "上涨",
    "Курс биткоина вырос на 3%",
    "Les actions de la société ont chuté après la publication des résultats.",
    "RT @someone: this is the bottom, I'm all in lol!!!",
    "Q3 EPS $1.12 beats by $0.09, revenue of $2.3B (+14% Y/Y) misses by $40M; guidance raised",
    "The agreement, whose value was not disclosed, runs until the end of 2027.",
    "Shareholders approved all of the board's proposals at the annual general meeting.",
    "Dividend cut to zero as cash runs out and auditors express substantial doubt",
    "Company wins a contract worth USD 1.2 billion to build data centres in Texas",
    "Hash rate at an all-time high: 1.1 ZH/s; difficulty adjusts by +6.3%",
    "Memecoin rug pull: $DOGX developers vanish with 9,000 SOL",
    "ETF inflows reach $1.7bn in one week, the most since January",
    "Mining ban lifted in two provinces, says ministry of energy, effective 1 July",
    "Market wrap: Bitcoin flat near $103k, ether and XRP little changed in thin holiday trading. "
    "Traders wait for the jobs report on Friday, and options worth $3 billion expire the same "
    "day. Open interest fell slightly. Funding rates were neutral on most venues, while the "
    "premium on Korean exchanges narrowed to 1.1%. In other news, a lender said that it would "
    "reopen withdrawals in May, a bridge paused after a bug was found by white hats, and the "
    "central bank published a paper about a digital currency, without saying when it may come.",
)
