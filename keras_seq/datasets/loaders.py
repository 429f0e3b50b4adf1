"""Readers of the data sets that ship inside the package."""

from importlib import resources

import pandas as pd


def load_sms_spam() -> pd.DataFrame:
    """Loads the SMS Spam Collection: English text messages, 13 % of them spam.

    Returns:
        5,574 rows, `text` (str) and `label` (`"ham"` or `"spam"`), in the order of
        the source. 403 rows repeat an earlier text: split by distinct text.

    Reference:
        Almeida, Gómez Hidalgo & Yamakami, 2011, "Contributions to the study of SMS
        spam filtering". UCI Machine Learning Repository, doi:10.24432/C5CC84.
        Licence: CC BY 4.0. Converted to Parquet, otherwise unchanged.
    """
    return _read("sms_spam.parquet")


def load_aus_retail() -> pd.DataFrame:
    """Loads monthly Australian retail turnover by state and industry.

    Returns:
        Long frame of 152 series and 64,532 rows, sorted: `unique_id` (the ABS series
        number), `ds` (first day of the month, April 1982 to December 2018), `y`
        (turnover, millions of Australian dollars), and the static columns `State`
        and `Industry`. Some series start later, four end earlier; none has gaps.

    Reference:
        Australian Bureau of Statistics, catalogue 8501.0, "Retail Trade, Australia",
        table 11, as collected in the R package tsibbledata. Licence: CC BY 4.0.
        Converted to Parquet, otherwise unchanged.
    """
    return _read("aus_retail.parquet")


def _read(name: str) -> pd.DataFrame:
    source = resources.files("keras_seq.datasets").joinpath(name)
    with resources.as_file(source) as path:
        return pd.read_parquet(path)
