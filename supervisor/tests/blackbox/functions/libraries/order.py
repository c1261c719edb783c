"""pydantic: an order is checked; what is wrong with it is told field by field."""

from pydantic import BaseModel, Field, ValidationError


class Line(BaseModel):
    item: str
    count: int = Field(gt=0)
    price: float = Field(ge=0)


class Order(BaseModel):
    customer: str
    lines: list[Line] = Field(min_length=1)


def handler(context, event):
    try:
        order = Order.model_validate_json(event.body if isinstance(event.body, bytes) else "null")
    except ValidationError as error:
        wrong = [".".join(map(str, one["loc"])) for one in error.errors()]
        return context.Response(body={"wrong": wrong}, status_code=422)
    return {"total": sum(line.count * line.price for line in order.lines)}
