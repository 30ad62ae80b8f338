"""Units of results: 5 km is 5000 m and no 5 miles. Words that are no unit, such as apples, do not count."""

import re
from collections.abc import Mapping
from fractions import Fraction

_DIMENSIONS: Mapping[str, Mapping[str, str]] = {
    "length": {
        "1": "m meter meters metre metres Meter mètre mètres metro metros метр метра метров 米",
        "1000": "km kilometer kilometers kilometre kilometres Kilometer kilomètre kilomètres kilómetro kilómetros км 公里",
        "1/100": "cm centimeter centimeters centimetre centimetres Zentimeter см 厘米",
        "1/1000": "mm millimeter millimeters millimetre millimetres мм 毫米",
        "0.3048": "ft foot feet",
        "0.0254": "inch inches",
        "0.9144": "yd yard yards",
        "1609.344": "mi mile miles Meilen",
    },
    "mass": {
        "1": "g gram grams Gramm gramme grammes gramo gramos г 克",
        "1000": "kg kilogram kilograms Kilogramm kilogramme kilo kilos кг 公斤 千克",
        "1/1000": "mg milligram milligrams",
        "1000000": "tonne tonnes",
        "453.59237": "lb lbs pound pounds",
        "28.349523125": "oz ounce ounces",
    },
    "time": {
        "1": "s sec secs second seconds Sekunde Sekunden seconde secondes segundo segundos секунд 秒",
        "1/1000": "ms millisecond milliseconds",
        "60": "min mins minute minutes Minute Minuten minuto minutos минут минуты 分钟 分",
        "3600": "h hr hrs hour hours Stunde Stunden heure heures hora horas час часа часов 小时 時間",
        "86400": "day days Tag Tage Tagen jour jours día días день дня дней 天",
        "604800": "week weeks Woche Wochen semaine semaines semana semanas",
    },
    "months": {
        "1": "month months Monat Monate mois mes meses",
        "12": "year years Jahr Jahre an ans año años лет год года 年",
    },
    "volume": {
        "1": "l liter liters litre litres Liter litro litros литр литров 升",
        "1/1000": "ml milliliter milliliters millilitre millilitres мл 毫升",
        "3.785411784": "gallon gallons",
    },
    "dollar": {
        "1": "$ US$ USD dollar dollars Dollar dólar dólares доллар доллара долларов 美元",
        "1/100": "cent cents ¢",
    },
    "euro": {"1": "€ EUR euro euros Euro евро 欧元"},
    "sterling": {"1": "£ GBP"},
    "yen": {"1": "¥ yen JPY 円 日元"},
    "yuan": {"1": "yuan CNY RMB 元"},
    "rupee": {"1": "₹ INR rupee rupees Rs"},
    "rouble": {"1": "₽ RUB рубль рубля рублей ruble rubles"},
    "celsius": {"1": "C"},
    "fahrenheit": {"1": "F"},
}
_KNOWN = {
    unit: (dimension, Fraction(factor))
    for dimension, by_factor in _DIMENSIONS.items()
    for factor, units in by_factor.items()
    for unit in units.split()
}
_UNIT = re.compile(
    r"(?:(?P<square>sq(?:uare)?\.?|Quadrat|quadratische?)|(?P<cubic>cubic|Kubik))?\s?(?P<unit>US\$|[^\W\d_]+|[$€£¥₹₽¢])"
    r"\}?(?:(?P<power>\^\{?[23]|[²³])|\s?(?:/|per|pro|par|por)\s?(?P<per>[^\W\d_]+))?"
)

Unit = tuple[str, Fraction]


def unit_of(words: str) -> Unit | None:
    """Return dimension and factor of the unit that begins a text, or `None` if it is none that is known."""
    found = _UNIT.match(words)
    known = _KNOWN.get(found["unit"]) if found else None
    if found is None or known is None:
        return None
    dimension, factor = known
    power = (
        2
        if found["square"]
        else 3
        if found["cubic"]
        else int("0" + (found["power"] or "")[-1:].translate(_RAISED))
    )
    if power:
        return f"{dimension}^{power}", factor**power
    below = _KNOWN.get(found["per"] or "")
    # A speed is no length, but a price per day is written like a price.
    return (f"{dimension}/{below[0]}", factor / below[1]) if below and dimension == "length" else known


_RAISED = str.maketrans("²³", "23")
