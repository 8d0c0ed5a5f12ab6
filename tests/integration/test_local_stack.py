"""The local stack is a real one: it answers, keeps its data, and gives rights sparingly."""

from pathlib import Path

import asyncpg
import pytest

from deploy.errors import Trouble
from deploy.local.kafka import checked
from deploy.local.stack import LocalStack


async def test_a_runtime_role_has_no_ddl_and_reaches_no_other_service(prepared: LocalStack) -> None:
    con = await asyncpg.connect(prepared.databases["intake"].runtime)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await con.execute("create table lotse.mine (a int)")
    finally:
        await con.close()
    foreign = prepared.databases["intake"].runtime.rpartition("/")[0] + "/referral"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)


def test_a_jar_with_another_sum_is_refused_by_name(tmp_path: Path) -> None:
    jar = tmp_path / "kafka-clients-4.3.1.jar"
    jar.write_bytes(b"not Kafka")
    with pytest.raises(Trouble, match=r"kafka-clients-4\.3\.1\.jar"):
        checked([jar], {jar.name: "0" * 64})
