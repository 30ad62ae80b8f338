"""The columns of an export: those of FOCUS 1.2 in alphabetical order, then our own with the prefix `x_`."""

from typing import Literal, NamedTuple

FOCUS_VERSION = "1.2"
Kind = Literal["text", "decimal", "time", "json"]


class Column(NamedTuple):
    """One column, its type, and whether it may be null."""

    name: str
    kind: Kind
    nullable: bool = False


COLUMNS = (
    Column("BilledCost", "decimal"),
    Column("BillingAccountId", "text"),
    Column("BillingAccountName", "text", nullable=True),
    Column("BillingCurrency", "text"),
    Column("BillingPeriodEnd", "time"),
    Column("BillingPeriodStart", "time"),
    Column("ChargeCategory", "text"),
    Column("ChargeClass", "text", nullable=True),
    Column("ChargeDescription", "text", nullable=True),
    Column("ChargeFrequency", "text"),
    Column("ChargePeriodEnd", "time"),
    Column("ChargePeriodStart", "time"),
    Column("ConsumedQuantity", "decimal", nullable=True),
    Column("ConsumedUnit", "text", nullable=True),
    Column("ContractedCost", "decimal"),
    Column("ContractedUnitPrice", "decimal", nullable=True),
    Column("EffectiveCost", "decimal"),
    Column("InvoiceId", "text", nullable=True),
    Column("InvoiceIssuerName", "text"),
    Column("ListCost", "decimal"),
    Column("ListUnitPrice", "decimal", nullable=True),
    Column("PricingCategory", "text", nullable=True),
    Column("PricingQuantity", "decimal", nullable=True),
    Column("PricingUnit", "text", nullable=True),
    Column("ProviderName", "text"),
    Column("PublisherName", "text"),
    Column("RegionId", "text", nullable=True),
    Column("RegionName", "text", nullable=True),
    Column("ResourceId", "text", nullable=True),
    Column("ResourceName", "text", nullable=True),
    Column("ResourceType", "text", nullable=True),
    Column("ServiceCategory", "text"),
    Column("ServiceName", "text"),
    Column("ServiceSubcategory", "text"),
    Column("SkuId", "text", nullable=True),
    Column("SkuMeter", "text", nullable=True),
    Column("SkuPriceDetails", "json", nullable=True),
    Column("SkuPriceId", "text", nullable=True),
    Column("SubAccountId", "text", nullable=True),
    Column("SubAccountName", "text", nullable=True),
    Column("SubAccountType", "text", nullable=True),
    Column("Tags", "json", nullable=True),
    Column("x_Calls", "decimal"),
    Column("x_CostCenter", "text", nullable=True),
    Column("x_Environment", "text", nullable=True),
    Column("x_Team", "text", nullable=True),
    Column("x_Tier", "text", nullable=True),
    Column("x_TokenClass", "text"),
)
