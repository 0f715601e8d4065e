"""Groups of similar personas: k-means over what their cards say, and the phrases that mark each group."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

NO_CLUSTER_WORDS = ("income", "values", "likes", "usa", "lives")  # in (nearly) every card: they tell no two apart
_LEADING = re.compile(r"^(values|likes|is|has|lives|shares)\s+")


def persona_clusters(texts: Sequence[str], *, clusters: int = 8, seed: int = 42) -> tuple[pd.DataFrame, dict[int, list[str]], float]:
    """k-means over persona texts: TF-IDF, ten latent dimensions, unit length; the largest cluster first.

    Returns: (frame x, y, cluster from 1; the three phrases that mark each cluster, see `_marks`; mean silhouette in [-1, 1], 0 where clusters
        touch). The plane is the first two principal components of the distances to the cluster centres.
    Source: paper, section III-D ("clustering analysis applied to persona descriptions"; method and features unspecified).
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    stop = sorted(ENGLISH_STOP_WORDS.union(NO_CLUSTER_WORDS))
    vectorizer = TfidfVectorizer(stop_words=stop, token_pattern=r"(?u)\b[^\W\d_]{2,}\b", min_df=min(5, max(1, len(texts) // 20)), sublinear_tf=True)
    with threadpool_limits(1):  # one thread: the same sums, hence the same clusters, on every run
        weights = vectorizer.fit_transform(texts)
        latent = normalize(TruncatedSVD(min(10, weights.shape[1] - 1), random_state=seed).fit_transform(weights))
        means = KMeans(clusters, n_init=20, random_state=seed).fit(latent)
        plane = PCA(2, svd_solver="full").fit_transform(means.transform(latent))
        silhouette = float(silhouette_score(latent, means.labels_))
    order = [c for c, _ in Counter(means.labels_.tolist()).most_common()]
    frame = pd.DataFrame({"x": plane[:, 0], "y": plane[:, 1], "cluster": [order.index(c) + 1 for c in means.labels_]})
    return frame, _marks(texts, frame["cluster"]), silhouette


def _marks(texts: Sequence[str], clusters: pd.Series) -> dict[int, list[str]]:
    """Three phrases of each cluster that are frequent in it and rarer elsewhere: share of its texts x log(that share / share of all texts), highest first."""
    said = pd.Series([sorted(set(_phrases(text))) for text in texts], index=clusters.to_numpy()).explode()
    counts = pd.crosstab(said.index, said)
    counts = counts.loc[:, counts.sum() >= min(5, max(1, len(texts) // 20))]
    sizes = clusters.value_counts().sort_index()
    inside, everywhere = counts.div(sizes, axis=0), counts.sum() / len(texts)
    score = inside * np.log((inside / everywhere).clip(lower=1e-9))
    return {int(c): list(row.sort_values(ascending=False, kind="stable").index[:3]) for c, row in score.iterrows()}


def _phrases(text: str) -> list[str]:
    """The clauses of a card without their leading verb; of a longer clause its words."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    clauses = [_LEADING.sub("", clause.strip()) for clause in re.split(r"[;,.]", text.lower())]
    words = [word for clause in clauses if len(clause.split()) > 5 for word in re.findall(r"[\w'-]+", clause) if word not in ENGLISH_STOP_WORDS]
    return words + [clause for clause in clauses if 0 < len(clause.split()) <= 5 and not clause.isdigit()]
