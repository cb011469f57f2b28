"""Sentences and words of gardening and of banking."""

from saeflow.datasets.texts.documents.topic import Topic, listed

GARDENING = Topic(
    name="gardening",
    opening="I am {who} {where}.",
    frames=(
        "Sow {crop} {season}, a thumb deep.",
        "{flower} needs moist soil and half shade.",
        "{gardener} pruned {shrub} with sharp shears.",
        "{pest} had eaten the leaves of {flower}.",
        "Spread {food} around {shrub} {season}.",
        "Water {crop} at the root and not from above.",
        "{gardener} pulled the weeds out of {bed}.",
        "{flower} blooms until the first frost.",
        "Dig over {bed} with care and rake it level.",
        "The seedlings of {crop} are ready to be planted out.",
        "{shrub} must be cut back {season}.",
        "Cover {bed} with straw so that {crop} stays dry.",
        "{gardener} mixed {food} into the soil.",
        "{pest} will not come near {flower}.",
        "The lawn was mown and {shrub} was trimmed.",
        "{crop} grew taller than the trellis.",
        "{gardener} planted {flower} beside {shrub}.",
        "{season}, {bed} is full of buds.",
        "{tool} stood beside the wheelbarrow in the shed.",
        "Harvest {crop} {season}, before it gets tough.",
        "Cuttings of {shrub} take root in damp sand.",
        "{gardener} collected {pest} by hand at dusk.",
        "{flower} in {bed} had begun to wilt.",
        "Loosen the roots of {flower} before repotting it.",
        "{gardener} had left {tool} in {bed}.",
        "Rain had washed {food} off {bed}.",
        "Pollen from {flower} draws bees to {bed}.",
    ),
    lists={
        "who": listed(
            "a gardener, a florist, a landscape gardener, a tree nursery owner, "
            "a park keeper, a hobby gardener, a grower, a botanist"
        ),
        "where": listed(
            "in a city park, at a small nursery, on a country estate, in a botanical garden, "
            "on a rented allotment, at an old manor, in a garden centre, in a mild valley"
        ),
        "crop": listed(
            "the lettuce, the radish, the parsley, the kale, the broad bean, the beetroot, "
            "the rhubarb, the sweetcorn"
        ),
        "season": listed(
            "in early spring, in autumn, after the last frost, in late May, in mild weather, "
            "in October, at midsummer, in the dry weeks"
        ),
        "flower": listed(
            "the tulip, the dahlia, the peony, the foxglove, the lavender, the geranium, "
            "the begonia, the marigold, the orchid"
        ),
        "gardener": listed(
            "the gardener, our neighbour, my uncle, the florist, the park keeper, "
            "the botanist, her grandfather, the new owner"
        ),
        "shrub": listed(
            "the hedge, the lilac, the rose bush, the hydrangea, the azalea, the ivy, "
            "the hawthorn, the magnolia"
        ),
        "tool": listed(
            "the spade, the secateurs, the pruning knife, the garden fork, the hoe, "
            "the trowel, the shears, the pitchfork"
        ),
        "pest": listed(
            "a slug, an aphid, a snail, a vole, a caterpillar, a beetle, a greenfly, an earwig"
        ),
        "food": listed(
            "compost, manure, bark mulch, bone meal, fertiliser, leaf mould, peat, wood ash"
        ),
        "bed": listed(
            "the flower bed, the raised bed, the greenhouse, the herb garden, the border, "
            "the vegetable patch, the rockery, the cold frame"
        ),
    },
    words=listed(
        "allotment, aphid, azalea, bark, bees, beetroot, begonia, blooms, buds, bush, "
        "caterpillar, compost, cuttings, dahlia, earwig, fertiliser, florist, flower, "
        "foxglove, frost, garden, gardener, geranium, greenfly, greenhouse, harvest, "
        "hawthorn, hedge, hoe, hydrangea, ivy, kale, lavender, lawn, lettuce, lilac, "
        "magnolia, manure, marigold, mulch, nursery, orchid, parsley, peat, peony, pollen, "
        "pruned, radish, rake, repotting, rhubarb, rockery, roots, secateurs, seedlings, "
        "shears, slug, snail, soil, sow, spade, sweetcorn, trellis, trowel, tulip, vole, "
        "weeds, wheelbarrow, wilt"
    ),
)

BANKING = Topic(
    name="banking",
    opening="I am {who} {where}.",
    frames=(
        "{customer} opened {account} with {bank}.",
        "{bank} raised the interest rate on {loan}.",
        "{clerk} transferred {sum} to {account}.",
        "{customer} repaid {loan} in monthly instalments.",
        "{bank} charges a fee for {service}.",
        "A deposit of {sum} was booked to {account}.",
        "{clerk} checked the credit rating of {customer}.",
        "{loan} was secured by {security}.",
        "{customer} withdrew {sum} from the cash machine.",
        "{paper} lists every withdrawal from {account}.",
        "The branch refused {loan} for lack of collateral.",
        "{account} was overdrawn by {sum}.",
        "{bank} sold its shares in {firm}.",
        "{firm} borrowed {sum} at a variable rate.",
        "{clerk} explained {paper} to {customer}.",
        "{bank} valued {security} at {sum}.",
        "The auditor compared {paper} with the balance sheet.",
        "{customer} cancelled {service} at the counter.",
        "Inflation ate up the savings in {account}.",
        "{firm} could not pay its debts to {bank}.",
        "{clerk} recommended bonds rather than shares in {firm}.",
        "The dividend of {firm} was paid into {account}.",
        "{service} is free for holders of {account}.",
        "{customer} forgot the PIN and asked {clerk} for help.",
        "{loan} will fall due before {paper} arrives.",
        "The cashier counted {sum} in banknotes.",
    ),
    lists={
        "who": listed(
            "a bank clerk, a cashier, a loan officer, a branch manager, a mortgage adviser, "
            "an auditor, a stockbroker, an investment banker"
        ),
        "where": listed(
            "at a savings bank, in a large branch, at the central bank, "
            "in a small credit union, at a private bank, at the stock exchange, "
            "in a suburban branch, at a building society"
        ),
        "customer": listed(
            "the customer, the client, a young couple, the shopkeeper, the widow, "
            "the account holder, the borrower, a foreign student"
        ),
        "account": listed(
            "a savings account, a current account, the joint account, the deposit account, "
            "the business account, the old account, a fixed-term account, the trust account"
        ),
        "bank": listed(
            "the bank, the savings bank, the central bank, the lender, the credit union, "
            "the building society, the private bank, the local branch"
        ),
        "loan": listed(
            "the loan, the mortgage, the overdraft, the student loan, the car loan, "
            "the line of credit, the bridging loan, the second mortgage"
        ),
        "clerk": listed(
            "the cashier, the bank clerk, the loan officer, the banker, the branch manager, "
            "the adviser, the teller, the accountant"
        ),
        "sum": listed(
            "five hundred euros, two thousand dollars, the full amount, ninety pounds, "
            "a small sum, sixty dollars, ten thousand euros, half of the amount"
        ),
        "service": listed(
            "the credit card, the standing order, the direct debit, the wire transfer, "
            "the safe deposit box, the debit card, the currency exchange, the online banking"
        ),
        "security": listed(
            "the house, the factory, the government bond, the share portfolio, the farmland, "
            "the gold, the warehouse, the insurance policy"
        ),
        "paper": listed(
            "the bank statement, the invoice, the cheque, the loan agreement, the receipt, "
            "the annual report, the repayment plan, the payment slip"
        ),
        "firm": listed(
            "the shipping company, the brewery, the airline, the steel works, the textile firm, "
            "the start-up, the power company, the paper mill"
        ),
    },
    words=listed(
        "account, accountant, auditor, balance, bank, banker, banking, banknotes, bond, "
        "bonds, borrowed, borrower, branch, cash, cashier, cheque, client, collateral, "
        "credit, currency, debit, debts, deposit, dividend, dollars, euros, fee, inflation, "
        "instalments, insurance, interest, investment, invoice, lender, loan, mortgage, "
        "overdraft, overdrawn, payment, portfolio, pounds, receipt, repaid, repayment, "
        "savings, shares, stockbroker, teller, transfer, transferred, withdrawal, withdrew"
    ),
)
