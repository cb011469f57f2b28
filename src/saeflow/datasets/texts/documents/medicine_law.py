"""Sentences and words of medicine and of law."""

from saeflow.datasets.texts.documents.topic import Topic, listed

MEDICINE = Topic(
    name="medicine",
    opening="I am {who} {where}.",
    frames=(
        "The patient in {bed} complained of {symptom}.",
        "{medic} listened to her lungs and wrote down {symptom}.",
        "We gave him {drug} {often}.",
        "{test} showed that {organ} was healthy again.",
        "After {surgery} the patient has to stay in bed for {span}.",
        "{medic} suspected {illness} and ordered {test}.",
        "Without treatment, {illness} can harm {organ} badly.",
        "The pharmacist warned that {drug} may cause {symptom}.",
        "Take {drug} {often}, always with a glass of water.",
        "A child with {illness} needs rest and plenty to drink.",
        "The swelling around {organ} went down within {span}.",
        "{test} is painless and needs no anaesthetic.",
        "{medic} explained {surgery} to the worried family.",
        "The wound was cleaned, stitched and covered with {supply}.",
        "There was no {supply} left in the cupboard of the ward.",
        "The ambulance brought in {sick} with {symptom}.",
        "{sick} recovered from {illness} after {span}.",
        "The diagnosis was {illness}, and nobody had expected it.",
        "Her blood pressure had been too high for {span}.",
        "The vaccine protects most people against {illness}.",
        "{medic} cancelled {surgery} because of a slight infection.",
        "The prescription said {drug} {often}.",
        "In {bed} lay {sick} who waited for {surgery}.",
        "The nurse fetched {supply} and checked the pulse again.",
        "An allergy to {drug} is rare but dangerous.",
        "The scan of {organ} was sent to the hospital overnight.",
    ),
    lists={
        "who": listed(
            "a nurse, a doctor, a surgeon, a midwife, a paramedic, a physiotherapist, "
            "a children's doctor, a pharmacist, a trainee nurse"
        ),
        "where": listed(
            "at a small clinic, in a busy hospital, on the night ward, in a village practice, "
            "at a clinic by the harbour, on the children's ward, in a rural hospital, "
            "in the emergency department"
        ),
        "bed": listed(
            "the first bed, the bed by the door, room four, the second bed, the recovery room, "
            "the isolation room, room nine, the last bed"
        ),
        "medic": listed(
            "the doctor, the surgeon, the young nurse, the midwife, the specialist, "
            "the paramedic, the anaesthetist, the senior physician"
        ),
        "symptom": listed(
            "a high fever, a dry cough, a sharp headache, sudden dizziness, stomach cramps, "
            "a sore throat, severe nausea, an itchy rash, chest pain, a fainting fit"
        ),
        "drug": listed(
            "an antibiotic, aspirin, insulin, a painkiller, cough syrup, a mild sedative, "
            "penicillin, an iron tablet, ibuprofen"
        ),
        "often": listed(
            "twice a day, every six hours, before breakfast, three times a day, at bedtime, "
            "after each meal, once a week, every morning"
        ),
        "test": listed(
            "a blood test, an ultrasound, an X-ray, a biopsy, a urine sample, a throat swab, "
            "a heart scan, an allergy test"
        ),
        "organ": listed(
            "the liver, the left kidney, the heart, the right lung, the stomach, the bladder, "
            "the spleen, the thyroid"
        ),
        "illness": listed(
            "pneumonia, diabetes, asthma, measles, bronchitis, influenza, anaemia, hepatitis, "
            "tuberculosis, malaria"
        ),
        "surgery": listed(
            "the operation, the hip surgery, the transplant, the heart surgery, "
            "the knee operation, the bypass, the eye surgery, the minor surgery"
        ),
        "supply": listed(
            "clean gauze, sterile bandage, fresh plaster, cotton dressing, surgical tape, "
            "elastic bandage, sterile gauze, white dressing"
        ),
        "sick": listed(
            "an elderly man, a young mother, a pale student, a retired teacher, "
            "a boy of eight, a tired woman, a pregnant woman, a newborn girl"
        ),
        "span": listed(
            "two days, a week, ten days, several weeks, a month, about a fortnight, "
            "three weeks, half a year"
        ),
    },
    words=listed(
        "patient, allergy, anaesthetic, antibiotic, aspirin, asthma, bandage, biopsy, "
        "bladder, blood, bronchitis, bypass, clinic, cough, cramps, diabetes, diagnosis, "
        "dizziness, doctor, fever, gauze, headache, hepatitis, hospital, infection, "
        "influenza, insulin, kidney, liver, lung, malaria, measles, midwife, nausea, nurse, "
        "painkiller, paramedic, penicillin, pharmacist, pneumonia, prescription, pulse, "
        "rash, spleen, surgeon, surgery, thyroid, transplant, treatment, tuberculosis, "
        "ultrasound, vaccine, ward, wound"
    ),
)

LAW = Topic(
    name="law",
    opening="I am {who} {where}.",
    frames=(
        "{lawyer} asked the judge to dismiss {claim}.",
        "The jury found the defendant guilty of {crime}.",
        "{witness} testified under oath that the alibi was true.",
        "The court will hear {claim} {date}.",
        "{lawyer} filed an appeal against {ruling}.",
        "The accused denied {crime} and asked for an attorney.",
        "According to {statute}, {crime} carries a sentence of {term}.",
        "{paper} was read aloud before the tribunal.",
        "The plaintiff demanded damages for {wrong}.",
        "{lawyer} cross-examined {witness} for most of the day.",
        "The judge adjourned the trial until {date}.",
        "The parties reached a settlement over {wrong}.",
        "The verdict on {crime} surprised the whole courtroom.",
        "{statute} leaves no doubt about {wrong}.",
        "The prosecutor presented {proof} as evidence.",
        "{proof} was not admissible because of {statute}.",
        "The clerk stamped {paper} and placed it with the affidavit.",
        "The convict was released on parole after {term}.",
        "{ruling} set a precedent for later lawsuits.",
        "Bail was refused because {proof} had vanished.",
        "{witness} refused to sign {paper}.",
        "The tenant sued the landlord over {wrong}.",
        "{lawyer} prepared {paper} for the hearing {date}.",
        "The barrister called {ruling} a mistake of justice.",
        "The solicitor studied {proof} and then dropped {claim}.",
        "A charge of {crime} must be proved beyond reasonable doubt.",
    ),
    lists={
        "who": listed(
            "a lawyer, a judge, a notary, a public prosecutor, a defence attorney, "
            "a court clerk, a solicitor, a legal adviser, a barrister"
        ),
        "where": listed(
            "at the district court, in a small law firm, in the capital, at a legal aid office, "
            "at the supreme court, in a quiet town, at the ministry of justice, "
            "in a firm of twelve partners"
        ),
        "lawyer": listed(
            "the lawyer, the prosecutor, the solicitor, the defence, the counsel, "
            "the attorney, the barrister, the state prosecutor"
        ),
        "witness": listed(
            "the witness, the neighbour, the bailiff, an expert witness, the constable, "
            "the night porter, the victim, the former partner"
        ),
        "claim": listed(
            "the claim, the lawsuit, the petition, the complaint, the objection, the appeal, "
            "the motion, the second indictment"
        ),
        "crime": listed(
            "theft, fraud, perjury, burglary, bribery, arson, forgery, assault, libel, smuggling"
        ),
        "ruling": listed(
            "the ruling, the verdict, the injunction, the court order, the acquittal, "
            "the judgment, the sentence, the conviction"
        ),
        "statute": listed(
            "the statute, the penal code, the constitution, the civil code, the labour law, "
            "the new regulation, the treaty, the second amendment"
        ),
        "term": listed(
            "two years, six months, three years, up to ten years, eighteen months, "
            "at least a year, five years, four months"
        ),
        "paper": listed(
            "the contract, the affidavit, the warrant, the will, the summons, "
            "the lease, the deed, the signed confession"
        ),
        "wrong": listed(
            "the broken contract, the unpaid rent, the damaged fence, the stolen patent, "
            "the false advertisement, the unfair dismissal, the breach of copyright, "
            "the disputed inheritance"
        ),
        "proof": listed(
            "the fingerprint, the recorded call, the forged signature, the torn letter, "
            "the security footage, the weapon, the muddy boot, the hidden ledger"
        ),
        "date": listed(
            "next Monday, in the autumn, on Thursday, in early June, after the holidays, "
            "at the end of the month, next week, on Friday"
        ),
    },
    words=listed(
        "accused, acquittal, adjourned, affidavit, alibi, arson, attorney, bail, bailiff, "
        "barrister, bribery, burglary, confession, constable, constitution, convict, "
        "copyright, counsel, court, courtroom, defendant, dismissal, evidence, forgery, "
        "fraud, guilty, indictment, injunction, inheritance, judge, jury, justice, lawsuit, "
        "lawyer, libel, oath, parole, penal, perjury, petition, plaintiff, prosecutor, "
        "ruling, solicitor, statute, summons, testified, theft, trial, tribunal, verdict, "
        "warrant, witness"
    ),
)
