"""What each score means: the table `METRICS` with definitions, directions and versions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One line of the metric table. `scope`: row, reading, judge, set, stance, swap or distribution; `direction`: higher, lower or "1" (closest to it)."""

    id: str
    label: str
    scope: str
    definition: str
    direction: str = "higher"
    version: str = "1"


_OURS = "Paper: unspecified. We use "
_SWAP = _OURS + "the score against the answer's own reference minus the mean over all other personas' references to the same question among the rows scored"
_WINS = _OURS + "the share of other personas' references to the same question among the rows scored that score lower than the answer's own (ties count half)"
_MASK = ", after all words whose stem occurs in the card of either of the two compared personas are taken out of the prediction and of both references"
_CONTENT = _MASK + ", and the data set's turns of phrase"
_UNITS = {"1": "single words", "2": "word pairs", "L": "the longest common subsequence"}
_WORDS = ", words of letters and digits of any script (characters of scripts without spaces), Porter stemmer on ASCII words. On ASCII text as rouge_score."
_CHARACTERS = "; characters of scripts without spaces count as words."
METRICS = {
    m.id: m
    for m in (
        Metric("bleu", "BLEU", "row", _OURS + "the mean NLTK sentence BLEU, smoothing method 1, lower-cased, split on white space" + _CHARACTERS, version="2"),
        Metric("bleu_sacre_sentence", "BLEU (sacreBLEU, sentence)", "row",
               _OURS + "the mean sacreBLEU sentence score, effective order, / 100, with tokenizer 13a" + _CHARACTERS, version="2"),
        Metric("bleu_corpus", "BLEU (sacreBLEU, corpus)", "set",
               _OURS + "the sacreBLEU corpus score / 100, with its signature" + _CHARACTERS, version="2"),
        *(Metric(f"rouge{n}", f"ROUGE-{n}", "row", _OURS + f"the rouge_score F1 of {what}" + _WORDS, version="2") for n, what in _UNITS.items()),
        *(Metric(f"rouge{n}_ascii", f"ROUGE-{n} (rouge_score's own words)", "row",
                 _OURS + f"the rouge_score F1 of {what} with its own tokenizer: a-z and 0-9 only, Porter stemmer on; what others publish.")
          for n, what in _UNITS.items()),
        Metric("bertscore_f1", "BERTScore F1", "row",
               _OURS + "bert-score's greedy matching per row, no idf, no rescaling; encoder and layer in the signature; empty text is 0; 512 tokens of "
               "a text at most. The default encoder knows English."),
        Metric("semantic_sim", "Semantic similarity", "row", _OURS + "the cosine of mean-pooled all-MiniLM-L6-v2 embeddings, negative values cut to 0; "
               "512 tokens of a text at most. An encoder of English text."),
        Metric("length_sim", "Length similarity", "row", _OURS + "the smaller over the larger number of characters."),
        Metric("sentence_sim", "Sentence-count similarity", "row", _OURS + "the smaller over the larger number of sentences, in any script.", version="2"),
        Metric("sentiment_sim", "Sentiment similarity", "row",
               _OURS + "1 - |difference of the VADER compound scores| / 2. English only: a text without a word of VADER's list has 0."),
        Metric("format_valid", "Format validity", "row", _OURS + "1 for a closed item with exactly one readable option or an open one of 1-8 finished "
               "sentences (of any script), both without control text or an echo of the prompt; else 0.", version="2"),
        Metric("quality", "Survey quality", "row", _OURS + "the mean of format_valid, length_sim, sentence_sim, sentiment_sim and semantic_sim.", version="2"),
        Metric("readable", "Readable answers", "reading",
               _OURS + "1 for an answer in real words and in a normal order whose reason belongs to its question and its option, as far as these can be "
               "judged; else 0."),
        Metric("real_words", "Real words", "reading",
               _OURS + "1 if every word of the answer is in one of two English word lists (pyspellchecker, simplemma), a name, a word of the card, the "
               "question or the options, or used by two people or more; else 0. English only."),
        Metric("word_order", "Word order", "reading",
               _OURS + "the share of 100 random orders of the reason's words that are less likely, by pairs of words in everybody's answers; shuffled words "
               "score .5."),
        Metric("on_topic", "Reason on topic", "reading",
               _OURS + "0 if the nearest reason of another question is clearly nearer (TF-IDF cosine, by .25) than the nearest of its own question, the "
               "reason of the person asked left out; else 1."),
        Metric("reason_fits", "Reason fits option", "reading",
               _OURS + "0 if the nearest reason given to the question for an option of the other half of the scale is clearly nearer (TF-IDF cosine, by .25) "
               "than the nearest for one of its own half; else 1."),
        Metric("nats_token", "Nats a token (SmolLM2)", "judge",
               _OURS + "the mean -log probability of an answer's tokens under the untuned SmolLM2-135M that sees the text alone: how odd the words are. A text "
               "that repeats itself, or says next to nothing, has few.", "lower"),
        Metric("nats_over_reference", "Nats a token over the reference", "judge",
               _OURS + "nats_token of the answer minus that of its own reference: 0 is as usual a wording as the reference's.", "lower"),
        Metric("distinct1", "Distinct-1", "set", _OURS + "distinct words over all words of the set, lower-cased" + _CHARACTERS, version="2"),
        Metric("distinct2", "Distinct-2", "set", _OURS + "distinct word pairs over all word pairs of the set, lower-cased" + _CHARACTERS, version="2"),
        Metric("self_bleu", "Self-BLEU", "set", _OURS + "the mean NLTK BLEU (method 1) of up to 100 sampled answers, each against the other sampled ones, "
               "averaged over 100 samples; split on white space" + _CHARACTERS, "lower", "3"),
        Metric("stance_acc", "Stance accuracy", "stance",
               _OURS + "the share of closed items whose option, read from the answer, is the reference's; no stance found is wrong."),
        Metric("stance_qwk", "Stance kappa", "stance",
               _OURS + "Cohen's kappa with quadratic weights of the options read and the reference's, over answers with a stance to questions with more than "
               "two options, chance taken question by question; options are compared by label.", version="2"),
        Metric("stance_qwk_pooled", "Stance kappa, pooled", "stance",
               _OURS + "the same over all questions at once, as scikit-learn computes it: it rises with what is known of the questions alone."),
        *(Metric(f"swap_{kind}_{score}", f"Swap {name}, {what}", "swap", f"{text}{said}.", version=version)
          for score, what, said, version in (("rouge1", "ROUGE-1", "; ROUGE-1", "2"), ("rouge1_masked", "ROUGE-1, card words masked", f"{_MASK}; ROUGE-1", "3"),
                                             ("rouge1_content", "ROUGE-1, on content", f"{_CONTENT}; ROUGE-1", "1"),
                                             ("semantic", "semantic", "; semantic similarity", "2"))
          for kind, name, text in (("gap", "gap", _SWAP), ("auc", "wins", _WINS))),
        Metric("swap_gap_option", "Swap gap, chosen option", "swap", _SWAP + "; 1 if both chose the same option, else 0.", version="2"),
        Metric("swap_auc_option", "Swap wins, chosen option", "swap", _WINS + "; 1 if both chose the same option, else 0.", version="2"),
        Metric("alignment", "Alignment", "distribution", _OURS + "1 - Wasserstein distance of the two answer distributions / (options - 1), per item."),
        Metric("sd_ratio", "Spread ratio", "distribution", _OURS + "the standard deviation of the model's options over the reference's, per item.", "1"),
        Metric("entropy_ratio", "Entropy ratio", "distribution", _OURS + "the entropy of the model's options over the reference's, per item.", "1"),
    )
}  # fmt: skip
ROW_METRICS = tuple(m.id for m in METRICS.values() if m.scope == "row")
QUALITY_PARTS = ("format_valid", "length_sim", "sentence_sim", "sentiment_sim", "semantic_sim")
