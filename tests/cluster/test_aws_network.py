"""What Ray makes of the file for AWS, before a stand-in for Amazon's services: the firewall above all."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config

from tests.cluster.tree import CLUSTER, PAGES, documents, typed_in

pytestmark = pytest.mark.soak


def test_a_group_made_as_the_page_makes_it_stays_closed_but_for_ssh_from_ones_own_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto", reason="moto is not installed (the extra `soak`)")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (the extra `aws`)")
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)  # HOME: Ray writes its SSH key there
    config = prepare_config(documents(CLUSTER / "aws.yaml")[0])
    region = config["provider"]["region"]
    with moto.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        from ray.autoscaler._private.aws import config as aws

        monkeypatch.setattr(aws.time, "sleep", lambda _seconds: None)  # it waits for Amazon's IAM to have heard of a new role
        ec2 = boto3.client("ec2", region)
        vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        wanted = config["provider"]["security_group"]["GroupName"]
        group = ec2.create_security_group(GroupName=wanted, Description="nodes", VpcId=vpc)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[ssh, {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]
        )
        made = aws.bootstrap_aws(config)
        rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    sources: list[Any] = [one["CidrIp"] for rule in rules for one in rule["IpRanges"]]
    assert sources == ["203.0.113.7/32"]
    assert [one["GroupId"] for rule in rules for one in rule["UserIdGroupPairs"]] == [group]
    for kind in made["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == [group]
    commands = typed_in(PAGES / "ray-up.md")
    assert f"create-security-group --group-name {wanted} " in commands
    assert re.search(r"--protocol tcp --port 22 --cidr \S", commands)
    assert "--source-group $group" in commands
